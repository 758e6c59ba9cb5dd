"""The linear map W from embeddings to comparable rows, Eq. 3 to 6, and how it is fitted."""
