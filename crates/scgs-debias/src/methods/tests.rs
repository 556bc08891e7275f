//! Parity and synthetic-problem tests of the methods.
