//! Torn ends, turned bits, lost headers and positions.

use super::*;

#[test]
fn a_torn_end_costs_the_torn_record_and_no_other() {}
