//! Full and failing disks.
