"""Approximate search beside the exact index: FAISS, and Milvus."""
