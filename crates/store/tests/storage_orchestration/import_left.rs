//! What imports leave whose process has died, and who removes it.

use std::fs;
use std::io::{self, Read};
use std::path::PathBuf;
use std::process::Command;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, SystemTime};

use layerstone_store::storage::{ImportArchiveOptions, LayerStorage as _, STAGING_PREFIX, import_archive};

use crate::fake::Fake;
use crate::import_layer::{import, parents};
use crate::layer_tar::LayerTar;

/// Where the process that is to die finds the parents, and imports to.
const DIES_IN: &str = "LAYERSTONE_TEST_DIES_IN";
/// How it dies, so that it is not taken for a test that failed.
const DIED: i32 = 77;

/// The first half of an archive, and then something else.
struct Half<F> {
    bytes: io::Cursor<Vec<u8>>,
    then: Option<F>,
    rest: Vec<u8>,
}

fn half<F: FnOnce()>(archive: LayerTar, then: F) -> Half<F> {
    let mut bytes = archive.finish();
    let rest = bytes.split_off(bytes.len() / 2);
    Half { bytes: io::Cursor::new(bytes), then: Some(then), rest }
}

impl<F: FnOnce()> Read for Half<F> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let count = self.bytes.read(buf)?;
        if count > 0 {
            return Ok(count);
        }
        if let Some(then) = self.then.take() {
            then();
            self.bytes = io::Cursor::new(std::mem::take(&mut self.rest));
        }
        self.bytes.read(buf)
    }
}

fn archive() -> LayerTar {
    LayerTar::layer().file("Files/new", "new").link("Files/link", "Files/keep")
}

/// The folders of imports in flight.
fn staged(fake: &Fake) -> Vec<String> {
    let mut found: Vec<_> = fs::read_dir(fake.root())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .filter(|name| name.starts_with(STAGING_PREFIX))
        .collect();
    found.sort();
    found
}

/// Dies in the middle of an import when it is told where; otherwise it tells another process to, and looks at what that left.
#[test]
fn what_an_import_left_that_died_goes_with_the_next_one_beside_it() {
    if let Some(root) = std::env::var_os(DIES_IN) {
        let root = PathBuf::from(root);
        let fake = Fake::windows();
        let own = fake.root().to_path_buf();
        let chain = fake.chain(&[root.join("middle"), root.join("base")]).unwrap();
        let dying = half(archive(), move || {
            fs::remove_dir_all(own).unwrap();
            std::process::exit(DIED);
        });
        let options = ImportArchiveOptions::default();
        let ended = import_archive(&fake, &root.join("dead"), dying, &chain, &options);
        panic!("it should be dead: {ended:?}");
    }
    let fake = parents();
    let died = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "import_left::what_an_import_left_that_died_goes_with_the_next_one_beside_it"])
        .env(DIES_IN, fake.root())
        .output()
        .unwrap();
    assert_eq!(died.status.code(), Some(DIED), "{}", String::from_utf8_lossy(&died.stderr));
    let left = staged(&fake);
    assert_eq!(left.len(), 1, "{left:?}");
    assert!(fake.path(&left[0]).join("transport").is_dir(), "{:?}", fake.tree(""));

    import(&fake, archive()).unwrap();
    assert_eq!(staged(&fake), [""; 0]);
    assert!(fake.path("layer/Files/link").is_file());
}

#[test]
fn an_import_in_flight_is_not_swept_away_by_others_beside_it() {
    let fake = parents();
    let (reached, is_reached): (Sender<()>, Receiver<()>) = channel();
    let (go_on, may_go_on): (Sender<()>, Receiver<()>) = channel();
    std::thread::scope(|scope| {
        // Gone when this panics, so that the other one does not wait for ever.
        let go_on = go_on;
        let slow = scope.spawn(|| {
            let waiting = half(archive(), move || {
                reached.send(()).unwrap();
                may_go_on.recv().unwrap();
            });
            let chain = fake.parents(&["middle", "base"]);
            import_archive(&fake, &fake.path("slow"), waiting, &chain, &ImportArchiveOptions::default())
        });
        is_reached.recv().unwrap();
        let before = staged(&fake);
        assert_eq!(before.len(), 1, "{before:?}");
        let tree = fake.tree(&before[0]);
        // Its age is not what saves it.
        let old = SystemTime::now() - Duration::from_secs(30 * 24 * 3600);
        let lock = fs::File::options().write(true).open(fake.path(&before[0]).join("lock")).unwrap();
        lock.set_times(fs::FileTimes::new().set_modified(old)).unwrap();
        drop(lock);
        import(&fake, archive()).unwrap();
        assert_eq!(staged(&fake), before);
        assert_eq!(fake.tree(&before[0]), tree);
        go_on.send(()).unwrap();
        slow.join().unwrap().unwrap();
    });
    assert_eq!(staged(&fake), [""; 0]);
    assert!(fake.path("slow/Files/link").is_file());
}
