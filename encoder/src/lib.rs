//! ONNX text models from a folder: sentence encoders and cross-encoder re-rankers.
