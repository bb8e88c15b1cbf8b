"""Export of segmentors with fixed classes as ONNX models."""

from .onnx_file import export_onnx

__all__ = ['export_onnx']
