// SPDX-License-Identifier: MIT OR Apache-2.0
//! A writer of the cpio format "newc", the only one an initramfs has. Owners
//! and devices are just numbers in it, so no privilege is needed.

const REGULAR: u32 = 0o100000;
const DIRECTORY: u32 = 0o040000;
const SYMLINK: u32 = 0o120000;
const CHARACTER: u32 = 0o020000;

#[derive(Default)]
pub struct Archive {
    bytes: Vec<u8>,
    inode: u32,
}

impl Archive {
    fn pad(&mut self) {
        while self.bytes.len() % 4 != 0 {
            self.bytes.push(0);
        }
    }

    fn entry(&mut self, path: &str, mode: u32, owner: u32, device: (u32, u32), data: &[u8]) {
        self.inode += 1;
        let name = path.trim_start_matches('/');
        let fields = [
            self.inode,
            mode,
            owner,
            owner,
            1, // links
            0, // time: the same input gives the same archive
            data.len() as u32,
            0,
            0,
            device.0,
            device.1,
            name.len() as u32 + 1,
            0, // checksum, unused in this variant
        ];
        self.bytes.extend_from_slice(b"070701");
        for field in fields {
            self.bytes
                .extend_from_slice(format!("{field:08X}").as_bytes());
        }
        self.bytes.extend_from_slice(name.as_bytes());
        self.bytes.push(0);
        self.pad();
        self.bytes.extend_from_slice(data);
        self.pad();
    }

    pub fn dir(&mut self, path: &str, mode: u32, owner: u32) {
        self.entry(path, DIRECTORY | mode, owner, (0, 0), &[]);
    }

    pub fn file(&mut self, path: &str, mode: u32, data: &[u8]) {
        self.entry(path, REGULAR | mode, 0, (0, 0), data);
    }

    pub fn symlink(&mut self, path: &str, target: &str) {
        self.entry(path, SYMLINK | 0o777, 0, (0, 0), target.as_bytes());
    }

    pub fn character_device(&mut self, path: &str, mode: u32, major: u32, minor: u32) {
        self.entry(path, CHARACTER | mode, 0, (major, minor), &[]);
    }

    pub fn finish(mut self) -> Vec<u8> {
        self.entry("TRAILER!!!", 0, 0, (0, 0), &[]);
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_and_data_are_aligned() {
        let mut archive = Archive::default();
        archive.dir("/a", 0o755, 0);
        archive.file("/a/b", 0o644, b"hello");
        archive.symlink("/a/c", "b");
        let bytes = archive.finish();
        assert_eq!(bytes.len() % 4, 0);
        let magics = bytes.windows(6).enumerate().filter(|(_, w)| w == b"070701");
        let offsets: Vec<usize> = magics.map(|(at, _)| at).collect();
        assert_eq!(offsets.len(), 4);
        assert!(offsets.iter().all(|at| at % 4 == 0));
    }

    #[test]
    fn a_file_reads_back() {
        let mut archive = Archive::default();
        archive.file("/x", 0o600, b"data");
        let bytes = archive.finish();
        let field = |n: usize| {
            let at = 6 + n * 8;
            u32::from_str_radix(std::str::from_utf8(&bytes[at..at + 8]).expect("ASCII"), 16)
                .expect("hexadecimal")
        };
        assert_eq!(field(1), 0o100600);
        assert_eq!(field(6), 4);
        assert_eq!(field(11), 2);
        assert_eq!(&bytes[110..112], b"x\0");
        assert_eq!(&bytes[112..116], b"data");
    }
}
