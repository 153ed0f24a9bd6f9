use super::*;

#[test]
fn every_step_is_a_line_and_programs_get_the_same() {
    let mut report = Report::default();
    report.fine("name", "db1 is 10.0.0.1");
    report.warn("clock", "off\nby 5 s");
    assert!(!report.has_failed());
    report.fail("tcp", "refused; start it");
    assert!(report.has_failed());
    let text = "ok    name         db1 is 10.0.0.1\n\
                warn  clock        off by 5 s\n\
                FAIL  tcp          refused; start it\n";
    assert_eq!(report.text(), text);
    let json = report.json();
    assert_eq!(json["ok"], false);
    assert_eq!(json["steps"][2]["verdict"], "fail");
    assert_eq!(json["steps"][1]["step"], "clock");
}
