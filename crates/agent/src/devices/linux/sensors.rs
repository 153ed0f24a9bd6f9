//! Temperature sensors, from /sys/class/hwmon; where that has none, from /sys/class/thermal.
//!
//! They are looked for at each reading, since they come and go with their devices.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use rowcall_core::convert::clean_text_within;
use rowcall_core::devices::{MAX_SENSORS, Sensor};

use super::Context;
use super::files::{self, MAX_NAME_BYTES};
use crate::collect::Collector;
use crate::devices::found::{Found, Source, keep_unique};

/// Most trip points of a thermal zone that are looked at for the critical one.
const MAX_TRIP_POINTS: usize = 16;

/// Most chips, and most sensors of one that are looked at.
const MAX_LISTED: usize = 1024;

/// Reads sensors.
#[derive(Debug)]
pub(super) struct Sensors(pub(super) Arc<Context>);

impl Source for Sensors {
    fn read(&mut self, found: &mut Found) {
        let mut sensors = chips(&self.0.path("sys/class/hwmon"), found);
        if sensors.is_empty() {
            sensors = zones(&self.0.path("sys/class/thermal"));
        }
        let sensors = named_apart(sensors);
        found.devices.sensors =
            keep_unique(Collector::Sensors, sensors, MAX_SENSORS, |it| &it.name, found);
    }
}

/// A sensor and the device that it is part of, for example "nvme0" or "coretemp.1".
type OfDevice = (Sensor, String);

fn chips(folder: &Path, found: &mut Found) -> Vec<OfDevice> {
    let mut sensors = Vec::new();
    for hwmon in files::names(folder).into_iter().take(MAX_LISTED) {
        let chip = folder.join(&hwmon);
        let device_name = device(&chip).unwrap_or_else(|| hwmon.clone());
        // Drivers of before Linux 3.13 have theirs at the device itself.
        for place in [chip.clone(), chip.join("device")] {
            let name = files::text(&place.join("name"));
            let before = sensors.len();
            let mut inputs = files::names(&place);
            inputs.retain(|it| it.starts_with("temp") && it.ends_with("_input"));
            inputs.truncate(MAX_LISTED);
            for input in &mut inputs {
                input.truncate(input.len() - "_input".len());
            }
            files::sort(&mut inputs);
            for input in inputs {
                let value = |of: &str| files::number(&place.join(format!("{input}_{of}")));
                let label = files::text(&place.join(format!("{input}_label")));
                let label = label.unwrap_or_else(|| input.clone());
                let chip_name = name.as_deref().unwrap_or(&device_name);
                let name = clean_text_within(&format!("{chip_name} {label}"), MAX_NAME_BYTES);
                let Some(name) = name else { continue };
                match value("input") {
                    Some(temperature_mc) => sensors.push((
                        Sensor { name, temperature_mc, critical_mc: value("crit") },
                        device_name.clone(),
                    )),
                    // Nothing is connected, or its device sleeps.
                    None => found.unreadable(Collector::Sensors, Some(&name)),
                }
            }
            if sensors.len() > before {
                break;
            }
        }
    }
    sensors
}

/// The name of the device that a chip is part of; unlike the chip's number it stays from boot to
/// boot.
fn device(chip: &Path) -> Option<String> {
    let link = std::fs::read_link(chip.join("device")).ok()?;
    clean_text_within(&link.file_name()?.to_string_lossy(), MAX_NAME_BYTES)
}

fn zones(folder: &Path) -> Vec<OfDevice> {
    let zones = files::names(folder).into_iter().filter(|it| it.starts_with("thermal_zone"));
    zones
        .take(MAX_LISTED)
        .filter_map(|zone| {
            let place = folder.join(&zone);
            let critical = (0..MAX_TRIP_POINTS).find(|point| {
                let kind = files::text(&place.join(format!("trip_point_{point}_type")));
                kind.as_deref() == Some("critical")
            });
            let critical = critical.map(|point| place.join(format!("trip_point_{point}_temp")));
            let sensor = Sensor {
                name: files::text(&place.join("type"))?,
                // Many a zone has no sensor of its own, and says so by an error.
                temperature_mc: files::number(&place.join("temp"))?,
                critical_mc: critical.and_then(|path| files::number(&path)),
            };
            Some((sensor, zone))
        })
        .collect()
}

/// Adds the device's name where two sensors have the same, as two disks of one kind do.
fn named_apart(sensors: Vec<OfDevice>) -> Vec<Sensor> {
    let mut times: HashMap<String, usize> = HashMap::new();
    for (sensor, _) in &sensors {
        *times.entry(sensor.name.clone()).or_default() += 1;
    }
    let apart = |(mut sensor, device): OfDevice| {
        if times.get(&sensor.name).is_some_and(|times| *times > 1) {
            let name = format!("{} ({device})", sensor.name);
            sensor.name = clean_text_within(&name, MAX_NAME_BYTES).unwrap_or(sensor.name);
        }
        sensor
    };
    sensors.into_iter().map(apart).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::devices::linux::tests::{Tree, read, skipped};

    fn told(tree: &Tree) -> Vec<(String, i32, Option<i32>)> {
        let sensors = read(tree, Collector::Sensors).sensors;
        sensors.into_iter().map(|it| (it.name, it.temperature_mc, it.critical_mc)).collect()
    }

    fn own((name, mc, critical): (&str, i32, Option<i32>)) -> (String, i32, Option<i32>) {
        (name.to_owned(), mc, critical)
    }

    #[test]
    fn chips_name_their_sensors_and_say_when_they_are_too_hot() {
        let tree = Tree::new()
            .with("sys/class/hwmon/hwmon0/name", "coretemp\n")
            .with("sys/class/hwmon/hwmon0/temp1_input", "45000\n")
            .with("sys/class/hwmon/hwmon0/temp1_label", "Package id 0\n")
            .with("sys/class/hwmon/hwmon0/temp1_crit", "100000\n")
            .with("sys/class/hwmon/hwmon0/temp2_input", "44000\n")
            .with("sys/class/hwmon/hwmon0/temp10_input", "-5000\n")
            .with("sys/class/hwmon/hwmon0/fan1_input", "2000\n")
            .with("sys/class/hwmon/hwmon0/device/temp1_input", "45000\n")
            .with("sys/class/hwmon/hwmon1/name", "acpitz\n")
            .with("sys/class/thermal/thermal_zone0/type", "acpitz\n")
            .with("sys/class/thermal/thermal_zone0/temp", "1\n");
        let expected = [
            ("coretemp Package id 0", 45000, Some(100_000)),
            ("coretemp temp2", 44000, None),
            ("coretemp temp10", -5000, None),
        ];
        assert_eq!(told(&tree), expected.map(own));
    }

    #[test]
    fn two_chips_of_one_kind_are_told_apart_by_their_devices() {
        let tree = Tree::new();
        for (n, device) in [(0, "nvme1"), (1, "nvme0")] {
            tree.add(&format!("sys/class/hwmon/hwmon{n}/name"), "nvme\n");
            tree.add(&format!("sys/class/hwmon/hwmon{n}/temp1_label"), "Composite\n");
            tree.add(&format!("sys/class/hwmon/hwmon{n}/temp1_input"), &format!("{n}000\n"));
            tree.add_link(&format!("sys/class/hwmon/hwmon{n}/device"), &format!("../../{device}"));
        }
        let expected =
            [("nvme Composite (nvme1)", 0, None), ("nvme Composite (nvme0)", 1000, None)];
        assert_eq!(told(&tree), expected.map(own));
    }

    #[test]
    fn old_drivers_have_their_files_at_the_device() {
        let tree = Tree::new()
            .with("sys/class/hwmon/hwmon0/device/name", "coretemp\n")
            .with("sys/class/hwmon/hwmon0/device/temp1_input", "45000\n");
        assert_eq!(told(&tree), [own(("coretemp temp1", 45000, None))]);
    }

    #[test]
    fn without_chips_thermal_zones_tell() {
        let tree = Tree::new()
            .with("sys/class/thermal/cooling_device0/type", "fan\n")
            .with("sys/class/thermal/thermal_zone0/type", "cpu-thermal\n")
            .with("sys/class/thermal/thermal_zone0/temp", "48312\n")
            .with("sys/class/thermal/thermal_zone0/trip_point_0_type", "passive\n")
            .with("sys/class/thermal/thermal_zone0/trip_point_0_temp", "80000\n")
            .with("sys/class/thermal/thermal_zone0/trip_point_1_type", "critical\n")
            .with("sys/class/thermal/thermal_zone0/trip_point_1_temp", "110000\n")
            .with("sys/class/thermal/thermal_zone1/type", "iwlwifi_1\n");
        assert_eq!(told(&tree), [own(("cpu-thermal", 48312, Some(110_000)))]);
    }

    #[test]
    fn nonsense_is_named_and_a_flood_is_bounded() {
        let tree = Tree::new().with("sys/class/hwmon/hwmon0/name", "bad\u{1b}[31m\nx\n");
        tree.add("sys/class/hwmon/hwmon0/temp1_input", "99999999999\n");
        tree.add_bytes("sys/class/hwmon/hwmon0/temp2_input", b"\xff\0");
        for n in 3..262 {
            tree.add(&format!("sys/class/hwmon/hwmon0/temp{n}_input"), "1\n");
        }
        let devices = read(&tree, Collector::Sensors);
        assert_eq!(devices.sensors.len(), MAX_SENSORS);
        assert_eq!(devices.sensors[0].name, "bad[31mx temp3");
        let mut said = skipped(&devices);
        said.sort();
        assert_eq!(
            said,
            [
                "sensors bad[31mx temp1 unreadable 1",
                "sensors bad[31mx temp2 unreadable 1",
                "sensors limit 3"
            ]
        );
        assert!(read(&Tree::new(), Collector::Sensors).skipped.is_empty());
    }
}
