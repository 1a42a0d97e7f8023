"""The allow-list: every name that a pickle may import without a finding, and what it may do with it.

Nothing here runs, imports or opens anything, whatever it is given, and nothing calls one of its arguments or gives one
back: what does is judged by its arguments, in ``judged.py``. A name is on the list because checkpoints hold it that
PyTorch, numpy, Python or a common trainer wrote. ``docs/safety.md`` says how to read it.

Each table has a module and names of it to a line; an indented line goes on with the one before.
"""

from __future__ import annotations

from collections.abc import Iterator

NOTHING, IMPORT, MAKE, CALL = range(4)  # each allows what comes before it, too

# Plain values, containers, arrays, tensors and storages: made by a call with plain arguments, most of which are interpreted.
_VALUES = """
datetime datetime date timedelta time timezone
decimal Decimal
uuid UUID SafeUUID
argparse Namespace
types SimpleNamespace
random Random
time struct_time
pathlib Path PosixPath WindowsPath PurePath PurePosixPath PureWindowsPath
pathlib._local Path PosixPath WindowsPath PurePath PurePosixPath PureWindowsPath
collections OrderedDict defaultdict Counter deque
ordereddict OrderedDict
_codecs encode
builtins dict set frozenset list tuple complex int float bool bytes bytearray object slice range xrange long
__builtin__ dict set frozenset list tuple complex int float bool bytes bytearray object slice range xrange long
numpy dtype
numpy.core.multiarray _reconstruct scalar
numpy._core.multiarray _reconstruct scalar
numpy.core.numeric _frombuffer
numpy._core.numeric _frombuffer
torch Size device Generator Tensor torch.Size
torch._C Generator
torch.return_types _attr _fake_quantize_per_tensor_affine_cachemask_tensor_qparams _fused_moving_avg_obs_fq_helper
    _linalg_det _linalg_det_out _linalg_eigh _linalg_eigh_out _linalg_slogdet _linalg_slogdet_out _linalg_solve_ex
    _linalg_solve_ex_out _linalg_svd _linalg_svd_out _lu_with_info _scaled_dot_product_cudnn_attention
    _scaled_dot_product_efficient_attention _scaled_dot_product_flash_attention
    _scaled_dot_product_flash_attention_for_cpu _unpack_dual aminmax aminmax_out cummax cummax_out cummin cummin_out
    frexp frexp_out geqrf geqrf_out histogram histogram_out histogramdd kthvalue kthvalue_out linalg_cholesky_ex
    linalg_cholesky_ex_out linalg_eig linalg_eig_out linalg_eigh linalg_eigh_out linalg_inv_ex linalg_inv_ex_out
    linalg_ldl_factor linalg_ldl_factor_ex linalg_ldl_factor_ex_out linalg_ldl_factor_out linalg_lstsq linalg_lstsq_out
    linalg_lu linalg_lu_factor linalg_lu_factor_ex linalg_lu_factor_ex_out linalg_lu_factor_out linalg_lu_out linalg_qr
    linalg_qr_out linalg_slogdet linalg_slogdet_out linalg_solve_ex linalg_solve_ex_out linalg_svd linalg_svd_out
    lu_unpack lu_unpack_out max max_out median median_out min min_out mode mode_out nanmedian nanmedian_out qr qr_out
    slogdet slogdet_out sort sort_out svd svd_out topk topk_out triangular_solve triangular_solve_out
torch._utils _rebuild_tensor _rebuild_tensor_v2 _rebuild_tensor_v3 _rebuild_parameter _rebuild_parameter_with_state
    _rebuild_qtensor _rebuild_sparse_tensor _rebuild_sparse_csr_tensor _rebuild_nested_tensor
    _rebuild_meta_tensor_no_storage _rebuild_device_tensor_from_numpy _rebuild_xla_tensor
    _rebuild_device_tensor_from_cpu_tensor _rebuild_wrapper_subclass
torch.nested._internal.nested_tensor _rebuild_njt NestedTensor
torch._dynamo.decorators _DimRange
torch.serialization _get_layout
torch.storage TypedStorage _TypedStorage UntypedStorage _UntypedStorage
torch.nn.parameter Parameter Buffer UninitializedParameter UninitializedBuffer
torch.autograd.variable Variable
torch.nn.backends.thnn _get_thnn_function_backend
"""

# Enumerations: called with one of their values.
_ENUMERATIONS = """
re RegexFlag
torch.amp.grad_scaler OptState
torch.cuda.amp.grad_scaler OptState
torch.nn.utils.parametrizations _OrthMaps
torch.distributed.checkpoint.metadata _MEM_FORMAT_ENCODING
torch.distributed._shard.sharded_tensor.metadata MEM_FORMAT_ENCODING
torch.distributed.tensor.placement_types _StridedShardOffsetMode
transformers.trainer_utils EvaluationStrategy FSDPOption HubStrategy IntervalStrategy SaveStrategy SchedulerType
transformers.training_args OptimizerNames ParallelMode
transformers.debug_utils DebugOption
accelerate.utils.dataclasses DistributedType PrecisionType ComputeEnvironment DynamoBackend
deepspeed.runtime.zero.config ZeroStageEnum
peft.utils.peft_types PeftType TaskType
torchao.quantization.quantize_.common.kernel_preference KernelPreference
"""

# Types and dtypes that stand for themselves, as arguments of the above.
_NAMES = """
builtins str unicode Ellipsis NotImplemented
__builtin__ str unicode Ellipsis NotImplemented
typing Any List Dict Tuple Set Sequence Mapping Iterable Callable
numpy ndarray matrix recarray record bool_ bool object_ str_ bytes_ unicode_ void generic number float64 float32 float16
    longdouble complex128 complex64 datetime64 timedelta64 int64 int32 int16 int8 uint64 uint32 uint16 uint8 intp uintp intc
    uintc longlong ulonglong
ml_dtypes bfloat16 float8_e4m3fn float8_e4m3fnuz float8_e5m2 float8_e5m2fnuz float8_e8m0fnu
numpy.ma MaskedArray
numpy.ma.core MaskedArray
numpy.matrixlib.defmatrix matrix
numpy.rec recarray record
numpy.core.records recarray record
numpy._core.records recarray record
numpy.random._mt19937 MT19937
numpy.random._pcg64 PCG64 PCG64DXSM
numpy.random._philox Philox
numpy.random._sfc64 SFC64
numpy.random.bit_generator SeedSequence
torch._utils torch.contiguous_format torch.channels_last torch.channels_last_3d torch.preserve_format
torch DoubleStorage FloatStorage HalfStorage BFloat16Storage LongStorage IntStorage ShortStorage CharStorage ByteStorage
    BoolStorage ComplexDoubleStorage ComplexFloatStorage QUInt8Storage QInt8Storage QInt32Storage QUInt4x2Storage
    QUInt2x4Storage UntypedStorage _UntypedStorage float64 double float32 float float16 half bfloat16 complex128 cdouble
    complex64 cfloat complex32 chalf int64 long int32 int int16 short int8 uint64 uint32 uint16 uint8 bool bits8 bits16
    bits1x8 bits2x4 bits4x2 uint1 uint2 uint3 uint4 uint5 uint6 uint7 int1 int2 int3 int4 int5 int6 int7 float8_e4m3
    float8_e4m3fn float8_e4m3fnuz float8_e5m2 float8_e5m2fnuz float8_e8m0fnu float4_e2m1fn_x2 quint8 qint8 qint32 quint4x2
    quint2x4 FloatTensor per_tensor_affine per_channel_affine per_tensor_symmetric per_channel_symmetric
    per_channel_affine_float_qparams strided contiguous_format channels_last channels_last_3d preserve_format
torch.cuda DoubleStorage FloatStorage HalfStorage BFloat16Storage LongStorage IntStorage ShortStorage CharStorage
    ByteStorage BoolStorage ComplexDoubleStorage ComplexFloatStorage QUInt8Storage QInt8Storage QInt32Storage
    QUInt4x2Storage QUInt2x4Storage UntypedStorage _UntypedStorage
torch.storage DoubleStorage FloatStorage HalfStorage BFloat16Storage LongStorage IntStorage ShortStorage CharStorage
    ByteStorage BoolStorage ComplexDoubleStorage ComplexFloatStorage QUInt8Storage QInt8Storage QInt32Storage
    QUInt4x2Storage QUInt2x4Storage UntypedStorage _UntypedStorage
torch._C _VariableFunctionsClass
torch.jit._script unpackage_script_module
zoneinfo ZoneInfo
torch.optim.lr_scheduler CyclicLR._triangular_scale_fn CyclicLR._triangular2_scale_fn CyclicLR._exp_range_scale_fn
torch.distributed.tensor DTensor
torch.distributed.tensor.api DTensor
torch.distributed._tensor.api DTensor
torch.amp.grad_scaler _refresh_per_optimizer_state
torch.cuda.amp.grad_scaler _refresh_per_optimizer_state
"""

# Of torch.nn.functional: activations and losses that modules hold as attributes, functions of tensors without other effect.
_FUNCTIONS = """
relu relu_ relu6 gelu silu mish elu selu celu leaky_relu leaky_relu_ rrelu prelu glu tanh sigmoid hardtanh hardsigmoid
hardswish hardshrink softshrink tanhshrink softplus softsign logsigmoid softmax log_softmax softmin gumbel_softmax threshold
dropout alpha_dropout normalize layer_norm group_norm batch_norm instance_norm linear bilinear interpolate pad mse_loss
l1_loss smooth_l1_loss huber_loss cross_entropy nll_loss binary_cross_entropy binary_cross_entropy_with_logits kl_div
poisson_nll_loss gaussian_nll_loss hinge_embedding_loss margin_ranking_loss soft_margin_loss cosine_similarity
pairwise_distance scaled_dot_product_attention avg_pool1d avg_pool2d avg_pool3d max_pool1d max_pool2d max_pool3d
adaptive_avg_pool1d adaptive_avg_pool2d adaptive_avg_pool3d
"""

# Those of PyTorch that are methods of one class, and are pickled as its attribute.
_METHODS = """
abs add alpha_dropout batch_norm bmm cat celu clamp cos cosine_similarity dropout einsum erf exp expm1 flatten group_norm
hardshrink instance_norm layer_norm log log1p log_softmax matmul max mean min mm mul pairwise_distance prelu relu relu_
rrelu rsqrt selu sigmoid sign sin softmax sqrt square stack sum tanh
"""

# Classes whose objects are made without a call and given their attributes: networks and their layers ...
_MODULES = """
torch.nn.modules.activation CELU ELU GELU GLU Hardshrink Hardsigmoid Hardswish Hardtanh LeakyReLU LogSigmoid LogSoftmax Mish
    MultiheadAttention PReLU RReLU ReLU ReLU6 SELU SiLU Sigmoid Softmax Softmax2d Softmin Softplus Softshrink Softsign Tanh
    Tanhshrink Threshold
torch.nn.modules.adaptive AdaptiveLogSoftmaxWithLoss
torch.nn.modules.batchnorm BatchNorm1d BatchNorm2d BatchNorm3d LazyBatchNorm1d LazyBatchNorm2d LazyBatchNorm3d SyncBatchNorm
    _BatchNorm _NormBase
torch.nn.modules.channelshuffle ChannelShuffle
torch.nn.modules.container Container ModuleDict ModuleList ParameterDict ParameterList Sequential
torch.nn.modules.conv Conv1d Conv2d Conv3d ConvTranspose1d ConvTranspose2d ConvTranspose3d LazyConv1d LazyConv2d LazyConv3d
    LazyConvTranspose1d LazyConvTranspose2d LazyConvTranspose3d _ConvNd _ConvTransposeNd
torch.nn.modules.distance CosineSimilarity PairwiseDistance
torch.nn.modules.dropout AlphaDropout Dropout Dropout1d Dropout2d Dropout3d FeatureAlphaDropout _DropoutNd
torch.nn.modules.flatten Flatten Unflatten
torch.nn.modules.fold Fold Unfold
torch.nn.modules.instancenorm InstanceNorm1d InstanceNorm2d InstanceNorm3d LazyInstanceNorm1d LazyInstanceNorm2d
    LazyInstanceNorm3d _InstanceNorm
torch.nn.modules.linear Bilinear Identity LazyLinear Linear NonDynamicallyQuantizableLinear _LinearWithBias
torch.nn.modules.loss BCELoss BCEWithLogitsLoss CTCLoss CosineEmbeddingLoss CrossEntropyLoss GaussianNLLLoss
    HingeEmbeddingLoss HuberLoss KLDivLoss L1Loss LinearCrossEntropyLoss MSELoss MarginRankingLoss MultiLabelMarginLoss
    MultiLabelSoftMarginLoss MultiMarginLoss NLLLoss NLLLoss2d PoissonNLLLoss SmoothL1Loss SoftMarginLoss TripletMarginLoss
    TripletMarginWithDistanceLoss _Loss _WeightedLoss
torch.nn.modules.module Module _WrappedHook
torch.nn.modules.normalization CrossMapLRN2d GroupNorm LayerNorm LocalResponseNorm RMSNorm
torch.nn.modules.padding CircularPad1d CircularPad2d CircularPad3d ConstantPad1d ConstantPad2d ConstantPad3d ReflectionPad1d
    ReflectionPad2d ReflectionPad3d ReplicationPad1d ReplicationPad2d ReplicationPad3d ZeroPad1d ZeroPad2d ZeroPad3d
torch.nn.modules.pixelshuffle PixelShuffle PixelUnshuffle
torch.nn.modules.pooling AdaptiveAvgPool1d AdaptiveAvgPool2d AdaptiveAvgPool3d AdaptiveMaxPool1d AdaptiveMaxPool2d
    AdaptiveMaxPool3d AvgPool1d AvgPool2d AvgPool3d FractionalMaxPool2d FractionalMaxPool3d LPPool1d LPPool2d LPPool3d
    MaxPool1d MaxPool2d MaxPool3d MaxUnpool1d MaxUnpool2d MaxUnpool3d
torch.nn.modules.rnn GRU GRUCell LSTM LSTMCell RNN RNNBase RNNCell RNNCellBase
torch.nn.modules.sparse Embedding EmbeddingBag
torch.nn.modules.transformer Transformer TransformerDecoder TransformerDecoderLayer TransformerEncoder
    TransformerEncoderLayer
torch.nn.modules.upsampling Upsample UpsamplingBilinear2d UpsamplingNearest2d
"""

# ... quantised ones, below torch.ao.nn or, earlier, torch.nn ...
_QUANTISED = """
intrinsic.modules.fused BNReLU2d BNReLU3d ConvAdd2d ConvAddReLU2d ConvBn1d ConvBn2d ConvBn3d ConvBnReLU1d ConvBnReLU2d
    ConvBnReLU3d ConvReLU1d ConvReLU2d ConvReLU3d LinearBn1d LinearLeakyReLU LinearReLU LinearTanh
intrinsic.qat.modules.conv_fused ConvBn1d ConvBn2d ConvBn3d ConvBnReLU1d ConvBnReLU2d ConvBnReLU3d ConvReLU1d ConvReLU2d
    ConvReLU3d
intrinsic.qat.modules.linear_fused LinearBn1d
intrinsic.qat.modules.linear_relu LinearReLU
intrinsic.quantized.dynamic.modules.linear_relu LinearReLU
intrinsic.quantized.modules.bn_relu BNReLU2d BNReLU3d
intrinsic.quantized.modules.conv_add ConvAdd2d ConvAddReLU2d
intrinsic.quantized.modules.conv_relu ConvReLU1d ConvReLU2d ConvReLU3d
intrinsic.quantized.modules.linear_relu LinearLeakyReLU LinearReLU LinearTanh
qat.dynamic.modules.linear Linear
qat.modules.conv Conv1d Conv2d Conv3d
qat.modules.embedding_ops Embedding EmbeddingBag
qat.modules.linear Linear
quantizable.modules.activation MultiheadAttention
quantizable.modules.rnn LSTM LSTMCell _LSTMLayer _LSTMSingleLayer
quantized.dynamic.modules.conv Conv1d Conv2d Conv3d ConvTranspose1d ConvTranspose2d ConvTranspose3d
quantized.dynamic.modules.linear Linear
quantized.dynamic.modules.rnn GRU GRUCell LSTM LSTMCell PackedParameter RNNBase RNNCell RNNCellBase
quantized.modules DeQuantize Quantize
quantized.modules.activation ELU Hardswish LeakyReLU MultiheadAttention PReLU ReLU6 Sigmoid Softmax
quantized.modules.batchnorm BatchNorm2d BatchNorm3d
quantized.modules.conv Conv1d Conv2d Conv3d ConvTranspose1d ConvTranspose2d ConvTranspose3d
quantized.modules.dropout Dropout
quantized.modules.embedding_ops Embedding EmbeddingBag EmbeddingPackedParams
quantized.modules.functional_modules FXFloatFunctional FloatFunctional QFunctional
quantized.modules.linear Linear LinearPackedParams
quantized.modules.normalization GroupNorm InstanceNorm1d InstanceNorm2d InstanceNorm3d LayerNorm
quantized.modules.rnn LSTM
sparse.quantized.dynamic.linear Linear
sparse.quantized.linear Linear LinearPackedParams
"""

# ... and what prepares them, below torch.ao.quantization or torch.quantization ...
_OBSERVERS = """
fake_quantize FakeQuantize FakeQuantizeBase FixedQParamsFakeQuantize FusedMovingAvgObsFakeQuantize
observer FixedQParamsObserver HistogramObserver MinMaxObserver MovingAverageMinMaxObserver
    MovingAveragePerChannelMinMaxObserver NoopObserver PerChannelMinMaxObserver PlaceholderObserver RecordingObserver
    ReuseInputObserver _PartialWrapper
qconfig QConfig QConfigDynamic
stubs DeQuantStub QuantStub QuantWrapper
"""

# ... optimizers, schedules, distributions ...
_TRAINING = """
torch.optim.adadelta Adadelta
torch.optim._adafactor Adafactor
torch.optim._muon Muon
torch.optim Adafactor Muon
torch.optim.adagrad Adagrad
torch.optim.adam Adam
torch.optim.adamax Adamax
torch.optim.adamw AdamW
torch.optim.asgd ASGD
torch.optim.lbfgs LBFGS
torch.optim.nadam NAdam
torch.optim.optimizer Optimizer _RequiredParameter
torch.optim.radam RAdam
torch.optim.rmsprop RMSprop
torch.optim.rprop Rprop
torch.optim.sgd SGD
torch.optim.sparse_adam SparseAdam
torch.optim.swa_utils AveragedModel SWALR
torch.optim.lr_scheduler ChainedScheduler ConstantLR CosineAnnealingLR CosineAnnealingWarmRestarts CyclicLR ExponentialLR
    LRScheduler LambdaLR LinearLR MultiStepLR MultiplicativeLR OneCycleLR PolynomialLR ReduceLROnPlateau SequentialLR StepLR
    _LRScheduler _SchedulePhase
torch.distributions.bernoulli Bernoulli
torch.distributions.beta Beta
torch.distributions.binomial Binomial
torch.distributions.categorical Categorical
torch.distributions.cauchy Cauchy
torch.distributions.chi2 Chi2
torch.distributions.constraints MixtureSameFamilyConstraint _Boolean _Cat _CorrCholesky _Dependent _GreaterThan
    _GreaterThanEq _HalfOpenInterval _IndependentConstraint _IntegerGreaterThan _IntegerInterval _IntegerLessThan _Interval
    _LessThan _LowerCholesky _LowerTriangular _Multinomial _OneHot _PositiveDefinite _PositiveSemidefinite _Real _Simplex
    _Square _Stack _Symmetric
torch.distributions.continuous_bernoulli ContinuousBernoulli
torch.distributions.dirichlet Dirichlet
torch.distributions.exponential Exponential
torch.distributions.fishersnedecor FisherSnedecor
torch.distributions.gamma Gamma
torch.distributions.generalized_pareto GeneralizedPareto
torch.distributions.geometric Geometric
torch.distributions.gumbel Gumbel
torch.distributions.half_cauchy HalfCauchy
torch.distributions.half_normal HalfNormal
torch.distributions.independent Independent
torch.distributions.inverse_gamma InverseGamma
torch.distributions.kumaraswamy Kumaraswamy
torch.distributions.laplace Laplace
torch.distributions.lkj_cholesky LKJCholesky
torch.distributions.log_normal LogNormal
torch.distributions.logistic_normal LogisticNormal
torch.distributions.lowrank_multivariate_normal LowRankMultivariateNormal
torch.distributions.mixture_same_family MixtureSameFamily
torch.distributions.multinomial Multinomial
torch.distributions.multivariate_normal MultivariateNormal
torch.distributions.negative_binomial NegativeBinomial
torch.distributions.normal Normal
torch.distributions.one_hot_categorical OneHotCategorical OneHotCategoricalStraightThrough
torch.distributions.pareto Pareto
torch.distributions.poisson Poisson
torch.distributions.relaxed_bernoulli LogitRelaxedBernoulli RelaxedBernoulli
torch.distributions.relaxed_categorical ExpRelaxedCategorical RelaxedOneHotCategorical
torch.distributions.studentT StudentT
torch.distributions.transformed_distribution TransformedDistribution
torch.distributions.transforms AbsTransform AffineTransform CatTransform ComposeTransform CorrCholeskyTransform
    CumulativeDistributionTransform ExpTransform IndependentTransform LowerCholeskyTransform PositiveDefiniteTransform
    PowerTransform ReshapeTransform SigmoidTransform SoftmaxTransform SoftplusTransform StackTransform
    StickBreakingTransform TanhTransform _InverseTransform
torch.distributions.uniform Uniform
torch.distributions.von_mises VonMises
torch.distributions.weibull Weibull
torch.distributions.wishart Wishart
"""

# ... and what stands beside them.
_OBJECTS = """
collections ChainMap UserDict UserList
UserDict UserDict IterableUserDict
UserList UserList
joblib.numpy_pickle NumpyArrayWrapper
torch ScriptObject
torch.torch_version TorchVersion
torch.nn.parallel.data_parallel DataParallel
torch.nn.parallel.distributed DistributedDataParallel _BucketCapacityConfig _MixedPrecision
torch.distributed.algorithms.join _JoinConfig
torch.nn.utils.parametrizations _Orthogonal _SpectralNorm _WeightNorm
torch.nn.utils.parametrize ParametrizationList
torch.nn.utils.prune CustomFromMask Identity L1Unstructured LnStructured PruningContainer RandomStructured
    RandomUnstructured
torch.nn.utils.rnn PackedSequence PackedSequence_
torch.nn.utils.spectral_norm SpectralNorm SpectralNormLoadStateDictPreHook SpectralNormStateDictHook
torch.nn.utils.weight_norm WeightNorm
torch.utils.hooks RemovableHandle
torch.utils.data.dataset ChainDataset ConcatDataset Dataset IterableDataset StackDataset Subset TensorDataset
torch.utils.data.distributed DistributedSampler
torch.utils.data.sampler BatchSampler RandomSampler SequentialSampler SubsetRandomSampler WeightedRandomSampler
torch.amp.grad_scaler GradScaler
torch.cuda.amp.grad_scaler GradScaler
torch.distributed.device_mesh DeviceMesh
torch.distributed._mesh_layout _FlatLayout _MeshLayout
torch.distributed.tensor._dtensor_spec DTensorSpec ShardOrderEntry TensorMeta
torch.distributed.tensor.placement_types Partial Replicate Shard _MaskPartial _StridedShard
torch.distributed._tensor.placement_types DTensorSpec TensorMeta Partial _Partial Replicate Shard
torch.distributed.checkpoint.metadata BytesStorageMetadata ChunkStorageMetadata Metadata MetadataIndex StorageMeta
    TensorProperties TensorStorageMetadata
torch.distributed.checkpoint.filesystem _StorageInfo
torch.distributed._shard.sharded_tensor.metadata ShardedTensorMetadata TensorProperties
torch.distributed._shard.sharded_tensor.shard Shard
torch.distributed._shard.metadata ShardMetadata
"""

# What calls an argument or gives one back, or touches files: harmless only as ``judged.py`` finds it used.
_JUDGED = """
copyreg _reconstructor __newobj__ __newobj_ex__
copy_reg _reconstructor __newobj__ __newobj_ex__
builtins getattr type
__builtin__ getattr type
functools partial
os stat_result
zoneinfo ZoneInfo._unpickle
logging getLogger
re _compile compile
fractions Fraction
ipaddress IPv4Address IPv4Network IPv4Interface IPv6Address IPv6Network IPv6Interface
numpy memmap
numpy.ma.core _mareconstruct
numpy.ma _mareconstruct
numpy.random._pickle __randomstate_ctor __generator_ctor __bit_generator_ctor
numpy.random __RandomState_ctor
numpy.random.bit_generator __pyx_unpickle_SeedSequence
torch._tensor _rebuild_from_type _rebuild_from_type_v2
torch.tensor _rebuild_from_type
torch.storage _load_from_bytes
torch.jit._pickle build_intlist build_doublelist build_boollist build_tensorlist restore_type_tag
"""

# Exceptions that Python has: made of plain values. The second module is Python 2's.
_EXCEPTIONS = """
ArithmeticError AssertionError AttributeError BaseException BrokenPipeError BufferError BytesWarning
ChildProcessError ConnectionAbortedError ConnectionError ConnectionRefusedError ConnectionResetError DeprecationWarning
EOFError EnvironmentError Exception FileExistsError FileNotFoundError FloatingPointError FutureWarning GeneratorExit IOError
ImportError ImportWarning IndentationError IndexError InterruptedError IsADirectoryError KeyError KeyboardInterrupt
LookupError MemoryError ModuleNotFoundError NameError NotADirectoryError NotImplementedError OSError OverflowError
PendingDeprecationWarning PermissionError ProcessLookupError RecursionError ReferenceError ResourceWarning RuntimeError
RuntimeWarning StopAsyncIteration StopIteration SyntaxError SyntaxWarning SystemError SystemExit TabError TimeoutError
TypeError UnboundLocalError UnicodeError UnicodeWarning UserWarning ValueError Warning ZeroDivisionError
"""

# Whose ``__new__`` leaves its arguments to ``__init__``, which NEWOBJ does not call.
_EMPTY_WHEN_NEW = """
collections OrderedDict defaultdict Counter deque
ordereddict OrderedDict
builtins dict set list bytearray
__builtin__ dict set list bytearray
"""


def _paths(table: str, under: str = "") -> Iterator[str]:
    module = ""
    for line in table.splitlines():
        words = line.split()
        if words and not line.startswith(" "):
            module, words = words[0], words[1:]
        yield from (f"{under}{module}.{name}" for name in words)


METHODS = frozenset(_METHODS.split())
JUDGED = frozenset(_paths(_JUDGED)) | {
    f"{module}.{name}" for module in ("builtins", "exceptions") for name in _EXCEPTIONS.split()
}
EMPTY_WHEN_NEW = frozenset(_paths(_EMPTY_WHEN_NEW))
ALLOWED: dict[str, int] = {
    **dict.fromkeys(_paths(_NAMES), IMPORT),
    **{f"{module}.{name}": IMPORT for module in ("torch.nn.functional", "torch._C._nn") for name in _FUNCTIONS.split()},
    **{path: MAKE for table in (_MODULES, _TRAINING, _OBJECTS) for path in _paths(table)},
    **{path: MAKE for ao in ("torch.ao.", "torch.") for path in _paths(_QUANTISED, f"{ao}nn.")},
    **{path: MAKE for ao in ("torch.ao.", "torch.") for path in _paths(_OBSERVERS, f"{ao}quantization.")},
    **dict.fromkeys((*_paths(_VALUES), *_paths(_ENUMERATIONS)), CALL),
}
