"""torch2grid on a Dask cluster."""
