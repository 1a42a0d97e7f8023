import js from "@eslint/js";
import globals from "globals";

const CLIENT = "torch2grid_builtin/src/torch2grid_builtin/_viewer/client/*.js";

export default [
  js.configs.recommended,
  {
    files: [CLIENT],
    languageOptions: { globals: globals.browser },
    rules: {
      eqeqeq: "error",
      "no-shadow": ["error", { hoist: "functions" }],
      "no-restricted-globals": ["error", "event", "name", "top", "parent", "status", "length", "find", "open"],
      "no-restricted-properties": ["error", ...["innerHTML", "outerHTML", "insertAdjacentHTML", "write"].map((property) => ({ property, message: "names come from files: text becomes text nodes" }))],
      "no-restricted-syntax": [
        "error",
        { selector: "ImportExpression, ExportAllDeclaration, ExportDefaultDeclaration, ExportNamedDeclaration[declaration=null]", message: "the bundler knows static imports and exported declarations" },
        { selector: "ExportNamedDeclaration > VariableDeclaration[kind!='const']", message: "an exported binding does not change" },
      ],
      "no-unused-vars": ["error", { args: "after-used" }],
      "no-var": "error",
      "prefer-const": "error",
    },
  },
  { files: ["tests/client/*.js"], languageOptions: { globals: globals.node } },
];
