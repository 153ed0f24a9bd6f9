//! Both ends of a session against each other, over real TCP and TLS.

#[cfg(test)]
mod acceptor;
#[cfg(test)]
mod certs_example;
#[cfg(test)]
mod load;
#[cfg(test)]
mod refusals;
#[cfg(test)]
mod session;
#[cfg(test)]
mod support;
