"""What draws in a browser, for the HTML report and for other pages: ES modules and style sheets."""
