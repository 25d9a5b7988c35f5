"""The converter on public models: accuracy, size, time and latency beside references and peers."""
