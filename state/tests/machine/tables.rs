//! Every life cycle, written out: each state with each step, and what follows. A change of one
//! shows as a change of a committed table.

use crate::common::{golden, table};

#[test]
fn every_life_cycle_is_as_committed() {
    for cycle in table::cycles() {
        golden::hold(
            &format!("tables/{}.table", cycle.name),
            cycle.text().as_bytes(),
        );
    }
}

#[test]
fn no_table_is_left_over() {
    let names: Vec<String> = table::cycles()
        .iter()
        .map(|cycle| format!("{}.table", cycle.name))
        .collect();
    for file in std::fs::read_dir(golden::place("tables")).expect("a folder") {
        let name = file.expect("a file").file_name();
        assert!(names.iter().any(|known| name == known.as_str()), "{name:?}");
    }
}
