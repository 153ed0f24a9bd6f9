//! Both ends of a session against each other, over real TCP and TLS.

#[cfg(test)]
mod acceptor;
#[cfg(test)]
mod balancer;
#[cfg(test)]
mod certs_example;
#[cfg(test)]
mod interop;
#[cfg(test)]
mod load;
#[cfg(test)]
mod matrix;
#[cfg(test)]
mod pinned;
#[cfg(test)]
mod pki;
#[cfg(test)]
mod refusals;
#[cfg(test)]
mod renewal;
#[cfg(test)]
mod revoked;
#[cfg(test)]
mod session;
#[cfg(test)]
mod support;
