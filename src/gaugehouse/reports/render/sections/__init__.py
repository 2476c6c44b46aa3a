"""The sections of a page: each turns its part of a document into finished blocks."""
