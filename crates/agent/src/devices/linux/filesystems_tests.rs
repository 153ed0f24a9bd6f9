use super::*;
use crate::collect::{Collect, Filter};
use crate::devices::linux::tests::{Tree, read, read_with, skipped};

/// A tree with mounts, each "device point kind source", and the folders they are mounted at.
fn mounted(mounts: &[&str]) -> Tree {
    let tree = Tree::new();
    let table: String = mounts.iter().map(|it| line(it)).collect();
    tree.add("proc/1/mountinfo", &table);
    for mount in mounts {
        let point = mount.split(' ').nth(1).unwrap().replace("\\040", " ");
        tree.add_dir(point.trim_start_matches('/'));
    }
    tree
}

fn line(mount: &str) -> String {
    let [device, point, kind, source] = mount.split(' ').collect::<Vec<_>>()[..] else {
        panic!("{mount}")
    };
    format!("27 1 {device} / {point} rw,relatime shared:1 - {kind} {source} rw\n")
}

fn points(devices: &rowcall_core::devices::Devices) -> Vec<&str> {
    devices.filesystems.iter().map(|it| it.mount.as_str()).collect()
}

#[test]
fn filesystems_with_data_are_told_with_their_numbers() {
    let tree = mounted(&["254:1 / ext4 /dev/vda1", "254:2 /srv/my\\040data xfs /dev/vdb"]);
    let devices = read(&tree, Collector::Filesystems);
    assert_eq!(points(&devices), ["/", "/srv/my data"]);
    let root = &devices.filesystems[0];
    assert_eq!((root.source.as_deref(), root.kind.as_deref()), (Some("/dev/vda1"), Some("ext4")));
    let expected = statvfs(tree.path("")).unwrap();
    let size = i64::try_from(expected.f_blocks * expected.f_frsize / 1024).unwrap();
    assert_eq!(root.size_kib, Some(size));
    assert!(root.available_kib.unwrap() <= size);
    assert_eq!(root.inodes_free.is_some(), root.inodes.is_some());
}

#[test]
fn space_is_what_ordinary_users_can_fill_and_inodes_are_told_where_they_are_counted() {
    let (mounts, _) = mountinfo::parse(line("8:1 / ext4 a").as_bytes());
    let (path, table) = ("/".into(), "/proc/self/mountinfo".into());
    let space = Space { path, table, name: "/".into(), mount: mounts[0].clone() };
    // Blocks are counted in fragments; 300 of the free ones are kept for root.
    let stat = StatVfs { f_bsize: 8192, f_frsize: 2048, f_blocks: 1000, ..statvfs("/").unwrap() };
    let stat = StatVfs { f_bfree: 700, f_bavail: 400, f_files: 90, f_ffree: 70, ..stat };
    let told = |stat: &StatVfs| {
        let it = space.numbers(stat)?;
        Some([it.size_kib, it.available_kib, it.inodes, it.inodes_free])
    };
    assert_eq!(told(&stat), Some([Some(2000), Some(800), Some(90), Some(70)]));
    let made_as_needed = StatVfs { f_files: 0, f_ffree: 0, ..stat };
    assert_eq!(told(&made_as_needed), Some([Some(2000), Some(800), None, None]));
    let huge = StatVfs { f_blocks: u64::MAX, f_frsize: u64::MAX, f_files: u64::MAX, ..stat };
    assert_eq!(told(&huge).map(|it| [it[0], it[2]]), Some([None, None]));
    assert_eq!(told(&StatVfs { f_blocks: 0, ..stat }), None, "it has no size");
}

#[test]
fn read_only_is_what_the_hosts_own_table_says() {
    let tree = mounted(&["254:1 / ext4 /dev/vda1"]);
    tree.add(
        "proc/1/mountinfo",
        "27 1 254:1 / / rw - ext4 /dev/vda1 rw\n28 1 254:2 / /a ro - ext4 /dev/vdb rw\n29 1 254:3 / /b rw - ext4 /dev/vdc ro,x\n",
    );
    // The sandbox shows everything as read-only.
    tree.add(
        "proc/self/mountinfo",
        "27 1 254:1 / / ro - ext4 /dev/vda1 rw\n28 1 254:2 / /a ro - ext4 /dev/vdb rw\n29 1 254:3 / /b ro - ext4 /dev/vdc ro,x\n",
    );
    tree.add_dir("a");
    tree.add_dir("b");
    let devices = read(&tree, Collector::Filesystems);
    let told: Vec<_> =
        devices.filesystems.iter().map(|it| (it.mount.as_str(), it.read_only)).collect();
    assert_eq!(told, [("/", false), ("/a", true), ("/b", true)]);
}

#[test]
fn what_holds_no_data_or_is_seen_twice_is_left_out() {
    let tree = mounted(&[
        "0:1 / overlay overlay",
        "0:21 /proc proc proc",
        "0:22 /sys sysfs sysfs",
        "0:6 /dev devtmpfs devtmpfs",
        "0:23 /tmp tmpfs tmpfs",
        "0:50 /dev/disk ext4 /dev/sdz",
        "7:1 /snap/core/1 squashfs /dev/loop1",
        "0:31 /var/lib/docker/overlay2/x/merged overlay overlay",
        "8:9 /var/lib/docker ext4 /dev/sdd",
        "8:10 /var/lib/docker/x ext4 /dev/sde",
        "8:1 /data/longer/path ext4 /dev/sda1",
        "8:1 /data ext4 /dev/sda1",
        "8:1 /mnt/bind ext4 /dev/sda1",
        "0:60 /home btrfs /dev/sdb",
        "8:3 /mnt/hidden ext4 /dev/sdc1",
        "8:4 /mnt/hidden ext4 /dev/sdc2",
    ]);
    let devices = read(&tree, Collector::Filesystems);
    assert_eq!(points(&devices), ["/", "/data", "/home", "/mnt/hidden", "/var/lib/docker"]);
    assert_eq!(devices.filesystems[3].source.as_deref(), Some("/dev/sdc2"));
    assert!(devices.skipped.is_empty());
}

#[test]
fn what_is_behind_a_network_is_read_only_when_asked_for() {
    let mounts = [
        "8:1 / ext4 /dev/sda1",
        "0:40 /nfs nfs4 server:/export",
        "0:41 /cifs cifs //server/share",
        "0:42 /sshfs fuse.sshfs user@host:/home",
        "0:43 /s3 fuse.s3fs bucket",
        "0:44 /odd odd server:/x",
        "0:45 /ntfs fuseblk /dev/sdb1",
        "0:46 /pool fuse.mergerfs a:b",
        "0:47 /plain fuse anything",
        "0:48 /share odd //server/share",
        "8:2 /colon ext4 /dev/mapper/a:/b",
    ];
    let tree = mounted(&mounts);
    let local = read(&tree, Collector::Filesystems);
    assert_eq!(points(&local), ["/", "/ntfs", "/pool", "/colon", "/plain"]);
    let collect = Collect { network_mounts: true, ..Collect::default() };
    let all = read_with(&tree, Collector::Filesystems, collect);
    assert_eq!(all.filesystems.len(), mounts.len());
}

/// The mount points that are told of a tree with these patterns.
fn chosen(tree: &Tree, include: &[&str], exclude: &[&str]) -> Vec<String> {
    let own = |patterns: &[&str]| patterns.iter().map(|&it| it.to_owned()).collect();
    let mounts = Filter { include: own(include), exclude: own(exclude) };
    let devices = read_with(tree, Collector::Filesystems, Collect { mounts, ..Collect::default() });
    devices.filesystems.into_iter().map(|it| it.mount).collect()
}

#[test]
fn patterns_choose_mounts() {
    let tree = mounted(&["8:1 / ext4 a", "8:2 /srv ext4 b", "8:3 /srv/x ext4 c"]);
    assert_eq!(chosen(&tree, &["/srv*"], &[]), ["/srv", "/srv/x"]);
    assert_eq!(chosen(&tree, &[], &["/srv/*"]), ["/", "/srv"]);
}

#[test]
fn what_patterns_leave_out_does_not_come_back_under_another_name() {
    let mounts = ["8:1 / ext4 a", "8:1 /run/netns ext4 a", "8:2 /srv ext4 b", "8:2 /x/srv ext4 b"];
    let tree = mounted(&mounts);
    assert_eq!(chosen(&tree, &[], &["/", "/srv"]), [""; 0]);
    assert_eq!(chosen(&tree, &["/run/*", "/x/*"], &[]), [""; 0]);
    assert_eq!(chosen(&tree, &[], &["/run/*", "/x/*"]), ["/", "/srv"]);
    // Our own view lacks the one that is left out.
    tree.add("proc/self/mountinfo", &[mounts[0], mounts[1], mounts[3]].map(line).concat());
    assert_eq!(chosen(&tree, &[], &["/srv"]), ["/"]);
}

#[test]
fn what_our_own_view_shows_otherwise_is_named() {
    let tree = mounted(&[
        "8:1 / ext4 a",
        "8:2 /home ext4 b",
        "8:3 /gone ext4 c",
        "8:4 /lost ext4 d",
        "8:5 /twice ext4 e",
        "8:6 /twice ext4 f",
    ]);
    tree.add(
        "proc/self/mountinfo",
        &[
            "8:1 / ext4 a",
            "0:9 /home tmpfs tmpfs",
            "8:4 /lost ext4 d",
            "8:5 /twice ext4 e",
            "8:6 /twice ext4 f",
        ]
        .map(line)
        .concat(),
    );
    tree.remove("lost");
    let devices = read(&tree, Collector::Filesystems);
    assert_eq!(points(&devices), ["/", "/twice"]);
    assert_eq!(
        skipped(&devices),
        [
            "filesystems /gone: the agent sees something else there unreadable 1",
            "filesystems /home: the agent sees something else there unreadable 1",
            "filesystems /lost: no such file or directory unreadable 1"
        ]
    );
}

#[test]
fn where_the_hosts_table_is_hidden_our_own_is_taken() {
    let tree = Tree::new().with("proc/self/mountinfo", &line("8:1 / ext4 /dev/sda1"));
    assert_eq!(points(&read(&tree, Collector::Filesystems)), ["/"]);
    assert_eq!(skipped(&read(&Tree::new(), Collector::Filesystems)), ["filesystems unreadable 1"]);
}

#[test]
fn thousands_of_mounts_and_broken_lines_are_bounded_and_counted() {
    let tree = Tree::new().with_dir("m");
    let table: String = (0..515).map(|n| line(&format!("9:{n} /m/{n} ext4 x"))).collect();
    tree.add("proc/1/mountinfo", &format!("{table}broken\n"));
    for n in 0..515 {
        tree.add_dir(&format!("m/{n}"));
    }
    let devices = read(&tree, Collector::Filesystems);
    assert_eq!(devices.filesystems.len(), MAX_FILESYSTEMS);
    let mut said = skipped(&devices);
    said.sort();
    assert_eq!(said, ["filesystems limit 3", "filesystems unreadable 1"]);
}

#[test]
fn of_two_whose_names_look_the_same_it_is_said_that_they_do() {
    let tree = mounted(&["8:1 / ext4 a", "8:2 /a\\001b ext4 b", "8:3 /ab ext4 c"]);
    let devices = read(&tree, Collector::Filesystems);
    assert_eq!(skipped(&devices), ["filesystems /ab: another one has this name unreadable 1"]);
}

#[test]
fn what_is_behind_a_network_is_asked_last_and_by_its_server() {
    let mounts = [
        "0:9 / nfs4 server:/root",
        "0:10 /a nfs4 server:/export",
        "0:11 /b cifs //other/share",
        "0:12 /c fuse.s3fs bucket",
        "8:2 /mnt/local ext4 /dev/sda2",
    ];
    let tree = mounted(&mounts);
    let collect = Collect { network_mounts: true, ..Collect::default() };
    let context = Context::new(tree.path(""), collect, rowcall_core::clock::SystemClock::shared());
    let mut found = Found::default();
    Filesystems::new(Arc::new(context)).read(&mut found);
    let asked: Vec<_> =
        found.further.iter().map(|(name, source)| (name.as_str(), source.server())).collect();
    let of = |name, server| (name, Some(server));
    assert_eq!(
        asked,
        [
            ("/", None),
            ("/mnt/local", None),
            of("/a", "server"),
            of("/b", "other"),
            of("/c", "bucket")
        ]
    );
}

#[test]
fn a_mount_that_goes_while_it_is_read_is_nothing_to_tell() {
    let tree = mounted(&["8:1 / ext4 a", "8:2 /stick vfat b"]);
    let context =
        Context::new(tree.path(""), Collect::default(), rowcall_core::clock::SystemClock::shared());
    let mut found = Found::default();
    Filesystems::new(Arc::new(context)).read(&mut found);
    tree.remove("stick");
    tree.add("proc/self/mountinfo", &line("8:1 / ext4 a"));
    for (_, mut source) in std::mem::take(&mut found.further) {
        source.read(&mut found);
    }
    assert_eq!(points(&found.devices), ["/"]);
    assert_eq!(skipped(&found.devices), [""; 0]);
}
