// Package filespool is a queue.Spool that keeps each message in a file of its
// own: the durable queue for one machine.
//
// # Strategies
//
//   - Written once: what was received is written once, in one piece, and never
//     again. What changes is appended to the file as a small record.
//   - Synced together: sessions sync their files at the same time, and share
//     one sync of the folder in which the files get their names (group commit).
//     With Options.SyncFS they share the sync of the files too.
//   - The file is the truth: the folder it lies in only helps to find it. A
//     crash between two folders loses nothing and revives nothing.
//   - Undo: a step that accepts messages and changes others is taken back as a
//     whole unless it was completed.
//   - A failed sync is final: Linux drops what it could not write and the next
//     sync says that all is well. So a draft whose file or folder failed to sync
//     is refused with 451 and removed, and a message whose record failed to sync
//     gets a new file before its next record.
//
// # Use
//
//  1. Open opens or makes the folder, and repairs what a crash left.
//  2. Give the *Spool to the queue's manager. It is the only one who calls Begin,
//     Commit, Entries and Open.
//  3. Check verifies one message; tools open the spool with Options.ReadOnly,
//     also while a server runs on it.
//  4. Close waits for what is under way.
//
// # What lies where
//
//	incoming/ active/ deferred/ hold/   messages, named by queue ID
//	corrupt/    damaged ones, each with ID.reason beside it
//	maildrop/   made for local submission, otherwise not touched
//	tmp/        drafts; swept by Open
//	undo/       undo logs of steps that are not completed
//	lock        locked with flock(2) while the spool is open
//	version     "mtakit filespool 1\n"
//
// A message goes to hold/ when its envelope says so, to active/ when its
// acceptance counts as the first attempt, to deferred/ when its first attempt
// lies in the future, and to incoming/ otherwise. Change.Defer moves it to
// deferred/, where it stays until it is removed or held.
//
// # The format of a file, version 1
//
// Numbers are big endian, checksums CRC-32C. A file is
//
//	head     64 bytes
//	content  what was received, byte for byte
//	trailer  what was known when it was accepted
//	records  what happened since
//
// The head holds "mtakit message 1", the length (8 bytes) and checksum of the
// content, the length and checksum of the trailer, the salt of the records (4
// bytes each), zeros, and in its last 4 bytes its own checksum. Everything is
// found by these lengths, so that nothing in a body can look like a trailer.
//
// Trailer and records are rows of fields: a tag of 1 byte, the length of the
// value as a varint, the value. Values are strings, zigzag varints, times (a
// varint of seconds since 1970 and one of nanoseconds), addresses (as
// netip.AddrPort marshals them) or rows of fields again. Unknown tags are
// skipped. The tags are the constants in format.go, envelope.go and record.go.
//
// The message is the prefix of the trailer followed by the content from the
// offset that the trailer tells. So fields that were put above the received
// header are the only thing written beside it; for any other change of the
// header the prefix is the whole new header.
//
// A record stands behind a frame: a mark made of the salt, its length (4 bytes
// each), the offset up to which the file was known as synced (8 bytes), and the
// checksum of these and the record, beginning with the salt. Where a record is
// not whole, and no later record knows that place as synced, a write was torn
// that nobody acknowledged: it is cut off before the next one. Any other damage
// moves the message to corrupt/.
//
// An undo log is "mtakit undo 1\n", two zero bytes, length and checksum of what
// follows, and fields: the IDs of the messages to be removed, and of the changed
// ones with the length that they are cut to.
//
// # Caveats
//
// The file system must know hard links and keep what it has synced: ext4, XFS,
// Btrfs, ZFS; not FAT. Network file systems work as far as their syncs and locks
// do.
//
// The same ID is never given twice, but IDs of two spools may be equal.
//
// When a sync fails while a refused message is being taken back, the disk is
// beyond promises: the message may be there after a restart.
package filespool
