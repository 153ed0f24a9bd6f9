//! What the agent reads agrees with what this machine's own tools say, and with node_exporter.
//!
//! Each witness is asked just before and just after each of the agent's readings. So a counter's
//! difference, and a counter itself, must lie between what it says: no tolerance is needed, however
//! slowly the tests run. What goes up and down may be a little outside; by how much, stands with it.

mod exporter;
mod table;
mod tools;
mod witness;
