//! Both ends of a session against each other, over real TCP and TLS.

mod acceptor;
mod certs_example;
mod load;
mod refusals;
mod session;
mod support;
