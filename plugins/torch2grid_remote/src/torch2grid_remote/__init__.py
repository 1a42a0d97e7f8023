"""Remote locations for torch2grid: what is at https://, s3://, gs://, az:// and hf://, read by the ranges that are needed."""

__version__ = "0.1.0"
