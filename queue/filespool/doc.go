// Package filespool is a queue.Spool on files: the durable queue for one
// machine.
//
// # Strategies
//
//   - Journal: a message of ordinary size, and everything that is recorded of any
//     message, is a record in a journal. Most mail is gone again before it ever
//     gets a file of its own.
//   - Group commit: who comes first writes and syncs for those who come while the
//     disk is busy. The files of the journal are full of zeros, or of what was in
//     them before, so that a sync concerns data alone.
//   - One record a step: what Commit accepts and changes is in one record, which
//     is there as a whole or not at all.
//   - Survivors get files: when little of the oldest segment is still needed, or
//     the journal is too large, what is left of it moves to a file per message.
//     A segment is removed only when it is the oldest, so that what was recorded
//     of a message never goes before the message.
//   - A start reads no files: an index has what a listing tells of each message
//     with a file. It is believed as long as the file's inode, length and time
//     are those that it notes, so it may be stale, damaged or missing, and need
//     not be synced; what it does not know is read from the files and noted.
//   - A failed sync is final: Linux drops what it could not write and the next
//     sync says that all is well. So the segment is given up, those who waited get
//     451, and the next segment says how much of this one counts.
//   - Old mail goes first: new messages are refused while room is left for what
//     has to be recorded of old ones, and wait when the journal cannot be emptied
//     as fast as it is filled.
//
// # Use
//
//  1. Open opens or makes the folder, reads the journal, and repairs what a crash
//     left.
//  2. Give the *Spool to the queue's manager. It is the only one who calls Begin,
//     Commit, Entries and Open.
//  3. Check verifies one message; tools open the spool with Options.ReadOnly,
//     also while a server runs on it.
//  4. Close waits for what is under way.
//
// # What lies where
//
//	journal/    segments, named by 16 hexadecimal digits; spare.* wait to become some
//	incoming/   long messages; they count when the journal says so, others are drafts
//	active/ deferred/ hold/   messages with a file of their own, named by queue ID
//	corrupt/    what is damaged, each with its reason in NAME.reason
//	maildrop/   made for local submission, otherwise not touched
//	tmp/        files before they have their name; swept by Open
//	lock        locked with flock(2) while the spool is open
//	version     "mtakit filespool 2\n"
//	index       what a listing tells; may be removed at any time
//
// Which of the folders a file lies in tells where the message was when the file
// was last written to. Where it is now the records tell.
//
// # The format of a segment
//
// Numbers are big endian, checksums CRC-32C. A segment begins with a head of 64
// bytes: "mtakit journal 1", its number (8 bytes), a random nonce (16), the number
// of the segment before it (8) and how many bytes of that one count (8), zeros, and
// in its last 4 bytes the checksum. Records follow without a gap, each behind a
// frame of 36 bytes: the first 8 bytes of the nonce, the offset of the frame (8),
// the offset up to which the segment was synced when it was written (8), the
// length of the record and its checksum (4 each), and the checksum of the nonce
// and all that (4). So nothing in a message can look like a record, nor can what
// the file held before; and where one is damaged, the next one is found.
//
// A record is a row of parts: a tag of 1 byte, the length as a varint, the length
// of a queue ID in 1 byte, the ID, and what the tag wants (step.go): a message as
// it stands in a file, without records; nothing, for a message that has a file in
// incoming/; the fields of a change; the number of a segment and an offset (8
// bytes each), for a message whose file tells everything that was recorded up to
// there; nothing, for one that is removed.
//
// At the start the newest segment names the one before it, and so on. What nobody
// names was given up. Where a record is not whole and nothing tells that it was
// synced, a write was torn that nobody acknowledged: the segment ends there.
// Otherwise what is damaged goes to corrupt/, and reading goes on behind it.
// Nothing is added to a segment of an earlier process.
//
// # The format of a file
//
// A file is
//
//	head     64 bytes
//	content  what was received, byte for byte
//	trailer  what was known when it was accepted
//	records  what happened since, as far as it is not in the journal
//
// The head holds "mtakit message 1", the length (8 bytes) and checksum of the
// content, the length and checksum of the trailer, the salt of the records (4
// bytes each), zeros, and in its last 4 bytes its own checksum. Everything is
// found by these lengths, so that nothing in a body can look like a trailer.
//
// Trailer, records and changes are rows of fields: a tag of 1 byte, the length of
// the value as a varint, the value. Values are strings, zigzag varints, times (a
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
// checksum of these and the record, beginning with the salt. A record that is not
// whole is the torn end of a write when the journal still knows what it said.
// Otherwise the message moves to corrupt/.
//
// # The format of the index
//
// A head of 32 bytes: "mtakit index 1\n" and a zero byte, the salt of the records
// (4 bytes), zeros, and in its last 4 bytes its checksum. Records follow as in the
// file of a message, each with the fields of an entry and the inode, length and
// modification time of the file that it was taken from; the tags are those in
// catalog.go. Where one is not whole, the next one is looked for. When more than
// half of it is of no use any more it is written anew.
//
// # Caveats
//
// Damage to a file that leaves its length and time as they were, as a failing disk
// does it, is found when the message is next opened, or by Check, and not by a
// listing.
//
// The file system must know hard links and keep what it has synced: ext4, XFS,
// Btrfs, ZFS; not FAT. Network file systems work as far as their syncs and locks
// do.
//
// The same ID is never given twice, but IDs of two spools may be equal.
//
// When a sync fails and no new segment can be made after it, the disk is beyond
// promises: a message that was refused may be there after a restart.
package filespool
