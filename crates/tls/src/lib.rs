//! Certificates and mutual TLS.
