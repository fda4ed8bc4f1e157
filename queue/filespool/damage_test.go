package filespool

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"reflect"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/emersion/go-smtp"
	"github.com/stretchr/testify/require"

	"github.com/mtakit/mtakit"
	"github.com/mtakit/mtakit/internal/crashfs"
	"github.com/mtakit/mtakit/queue"
)

func testEnvelope() *mtakit.Envelope {
	return &mtakit.Envelope{Sender: "a@example.org", Recipients: []mtakit.Recipient{{Address: "b@example.org"}, {Address: "c@example.org"}}}
}

func put(t testing.TB, s *Spool, content string, attempts int) string {
	d, err := s.Begin(context.Background(), 0)
	require.NoError(t, err)
	_, err = d.Write([]byte(content))
	require.NoError(t, err)
	ids, err := s.Commit(context.Background(), []queue.Accept{{Draft: d, Envelope: testEnvelope(), Attempts: attempts}}, nil)
	require.NoError(t, err)
	return ids[0]
}

func must(t testing.TB, s *Spool, c queue.Change) {
	_, err := s.Commit(context.Background(), nil, []queue.Change{c})
	require.NoError(t, err)
}

const small = "Subject: x\r\n\r\nbody\r\n"

// settle moves everything that the journal knows to files.
func settle(t testing.TB, s *Spool) {
	for _, seg := range s.index.segments {
		if moves := s.index.of(seg, 1000); len(moves) > 0 {
			require.NoError(t, s.moveOut(moves))
		}
	}
	require.Empty(t, s.index.ids())
}

// sample is the file of a message with two records, and where the first one
// starts.
func sample(t testing.TB) (raw []byte, records int) {
	dir := t.TempDir()
	s, err := Open(dir, Options{MinFree: -1})
	require.NoError(t, err)
	defer s.Close()
	id := put(t, s, small, 1)
	for i, state := range []queue.State{queue.Done, queue.Failed} {
		must(t, s, queue.Change{ID: id, Marks: []queue.Mark{{Recipient: i, State: state}}})
		settle(t, s)
	}
	raw, err = os.ReadFile(filepath.Join(dir, "active", id))
	require.NoError(t, err)
	h := mustHead(t, raw)
	return raw, int(h.records())
}

type memory0 []byte

func (m memory0) ReadAt(p []byte, off int64) (int, error) { return bytes.NewReader(m).ReadAt(p, off) }
func (m memory0) WriteAt([]byte, int64) (int, error)      { return 0, syscall.EBADF }
func (m memory0) Close() error                            { return nil }
func (m memory0) Size() (int64, error)                    { return int64(len(m)), nil }
func (m memory0) Truncate(int64) error                    { return syscall.EBADF }
func (m memory0) Sync() error                             { return syscall.EBADF }
func (m memory0) SyncData() error                         { return syscall.EBADF }

// TestEveryBit flips every bit of a file: it is noticed. In the records that is
// because they end too early, which only a message may that the journal knows.
func TestEveryBit(t *testing.T) {
	t.Parallel()
	raw, records := sample(t)
	for i := range len(raw) * 8 {
		bad := memory0(bytes.Clone(raw))
		bad[i/8] ^= 1 << (i % 8)
		im, err := readImage(bad, inMemory)
		if i/8 < records {
			require.ErrorIs(t, err, errDamaged, "bit %d", i)
			continue
		}
		require.True(t, err != nil || im.end < im.size, "bit %d", i)
	}
}

// TestEveryLength cuts a file everywhere: within the records it is a torn
// write, before them it is damage.
func TestEveryLength(t *testing.T) {
	t.Parallel()
	raw, records := sample(t)
	for n := range raw {
		im, err := readImage(memory0(raw[:n]), inMemory)
		if n < records {
			require.ErrorIs(t, err, errDamaged, "%d bytes", n)
			continue
		}
		require.NoError(t, err, "%d bytes", n)
		require.LessOrEqual(t, im.end, int64(n))
	}
}

func mustHead(t testing.TB, raw []byte) head {
	h, err := parseHead(raw, int64(len(raw)))
	require.NoError(t, err)
	return h
}

// FuzzReadImage reads garbage behind checksums that are right: it never panics,
// what it takes for good stays within the file, and it can be recorded behind.
func FuzzReadImage(f *testing.F) {
	raw, at := sample(f)
	h := mustHead(f, raw)
	content, meta := raw[headSize:headSize+h.content], raw[headSize+h.content:at]
	var records [][]byte
	for b := raw[at:]; len(b) > 0; {
		record, _, n := nextRecord(b, h.salt)
		records, b = append(records, record), b[n:]
	}
	f.Add(content, meta, records[0], records[1], uint16(0), byte(0))
	f.Add(content, meta, records[0], []byte{recRelease, 1, 1}, uint16(9), byte(1))
	f.Add([]byte{}, []byte{trailerEnvelope, 0}, []byte{recWarned, 1, 1}, []byte{recHold, 1, 'h'}, uint16(300), byte(0))
	f.Add(content, []byte{}, []byte{}, []byte{}, uint16(20), byte(255))
	f.Fuzz(func(t *testing.T, content, meta, first, second []byte, at uint16, x byte) {
		raw := sealedImage(content, meta, first, second)
		if x >= 128 { // most of the time all sums are right
			raw[int(at)%len(raw)] ^= x
		}
		im, err := readImage(memory0(raw), inMemory)
		if err != nil {
			require.ErrorIs(t, err, errDamaged)
			return
		}
		require.LessOrEqual(t, im.end, int64(len(raw)))
		require.LessOrEqual(t, im.from, im.trailer.header)
		im.fields(im.content[:im.trailer.header:im.trailer.header])
		require.Len(t, im.marks, len(im.envelope.Recipients))
		raw = appendRecord(raw[:im.end:im.end], im.salt, im.synced, func(e *encoder) { e.change(&queue.Change{Warned: true}) })
		again, err := readImage(memory0(raw), inMemory)
		require.NoError(t, err)
		require.True(t, again.warned)
	})
}

// sealedImage is a file of these parts with all its checksums.
func sealedImage(content, meta []byte, records ...[]byte) []byte {
	h := head{content: int64(len(content)), contentSum: crc(content), trailer: uint32(len(meta)), trailerSum: crc(meta), salt: 7}
	raw := make([]byte, headSize)
	h.put(raw)
	raw = append(append(raw, content...), meta...)
	for _, record := range records {
		raw = appendRecord(raw, h.salt, h.records(), func(e *encoder) { e.b = append(e.b, record...) })
	}
	return raw
}

// FuzzEnvelope decodes garbage, and what it decoded survives another round.
func FuzzEnvelope(f *testing.F) {
	f.Add(encoded(filled()))
	f.Add(encoded(testEnvelope()))
	f.Add([]byte{envClient, 2, clientAddr, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		var err error
		env := value{b, &err}.envelope()
		if err != nil {
			return
		}
		again := value{encoded(env), &err}.envelope()
		require.NoError(t, err)
		require.Equal(t, env, again)
	})
}

func encoded(env *mtakit.Envelope) []byte {
	var e encoder
	e.envelope(env)
	return e.b
}

// filled has a value in every field, so that a field that somebody adds and
// that is not written is noticed.
func filled() *mtakit.Envelope {
	var env mtakit.Envelope
	n := 0
	fill(reflect.ValueOf(&env).Elem(), &n)
	return &env
}

func fill(v reflect.Value, n *int) {
	*n++
	switch x := v.Addr().Interface().(type) {
	case *time.Time:
		*x = time.Unix(int64(1_700_000_000+*n), int64(*n))
		return
	case interface{ UnmarshalText([]byte) error }:
		if err := x.UnmarshalText([]byte("192.0.2.1:25")); err != nil {
			panic(err)
		}
		return
	}
	switch v.Kind() {
	case reflect.String:
		v.SetString(strings.Repeat("x", *n%7+1))
	case reflect.Int, reflect.Int64:
		v.SetInt(int64(*n))
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(v.Elem(), n)
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 2, 2))
		fill(v.Index(0), n)
		fill(v.Index(1), n)
	case reflect.Map:
		v.Set(reflect.ValueOf(map[string]string{"k": "v"}))
	case reflect.Struct:
		for i := range v.NumField() {
			fill(v.Field(i), n)
		}
	default:
		panic(v.Kind())
	}
}

func TestEnvelopeIsWhole(t *testing.T) {
	t.Parallel()
	want := filled()
	var err error
	got := value{encoded(want), &err}.envelope()
	require.NoError(t, err)
	require.Equal(t, want, got)

	later := append(encoded(want), 99, 3, 'n', 'e', 'w')
	require.Equal(t, want, value{later, &err}.envelope(), "unknown fields are skipped")
	require.NoError(t, err)
}

func TestCorrupt(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s, err := Open(dir, Options{MinFree: -1})
	require.NoError(t, err)
	defer s.Close()
	good, bad, long := put(t, s, small, 1), put(t, s, small, 1), put(t, s, small+strings.Repeat("x", inMemory), 0)
	settle(t, s)
	short := put(t, s, small, 1)
	end := put(t, s, small, 1)
	must(t, s, queue.Change{ID: end, Marks: []queue.Mark{{State: queue.Done}}})
	settled, _, _ := s.index.get(end)
	require.NotNil(t, settled.seg)
	flip(t, filepath.Join(dir, "active", bad), headSize+int64(len(small))+3)
	flip(t, filepath.Join(dir, "deferred", long), headSize+1000)
	known, _, _ := s.index.get(short)
	flip(t, filepath.Join(dir, "journal", segmentName(known.seg.seq)), known.at+headSize+int64(len(small))+3)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "active", "README.txt"), []byte("mine"), 0o600))

	var left, gone []string
	for e, err := range s.Entries(t.Context()) {
		if err == nil {
			left = append(left, e.ID)
			continue
		}
		var corrupt *queue.CorruptError
		require.ErrorAs(t, err, &corrupt)
		gone = append(gone, corrupt.ID)
	}
	require.ElementsMatch(t, []string{good, long, end}, left, "everything else goes on")
	require.ElementsMatch(t, []string{bad, short}, gone)
	for _, id := range gone {
		require.FileExists(t, filepath.Join(dir, "corrupt", id))
		require.FileExists(t, filepath.Join(dir, "corrupt", id+".reason"))
		_, err = s.Open(t.Context(), id)
		require.ErrorIs(t, err, queue.ErrNotFound)
	}
	require.FileExists(t, filepath.Join(dir, "active", "README.txt"))

	var corrupt *queue.CorruptError
	st, err := s.Open(t.Context(), long)
	require.NoError(t, err)
	_, err = st.Message.WriteTo(new(bytes.Buffer))
	require.ErrorAs(t, err, &corrupt, "the reader is told at the end")
	require.NoError(t, s.Check(t.Context(), good))
	require.ErrorAs(t, s.Check(t.Context(), long), &corrupt)
	require.FileExists(t, filepath.Join(dir, "corrupt", long))
}

// TestCorruptAtEachStart starts again and again while a damaged record is in the
// journal: its remains are kept once, and there is a name for them each time.
func TestCorruptAtEachStart(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s, err := Open(dir, Options{MinFree: -1})
	require.NoError(t, err)
	bad, good := put(t, s, small, 1), put(t, s, small, 1)
	known, _, _ := s.index.get(bad)
	flip(t, filepath.Join(dir, "journal", segmentName(known.seg.seq)), known.at+headSize+int64(len(small))+3)
	require.NoError(t, s.Close())
	for range 110 {
		s, err := Open(dir, Options{MinFree: -1})
		require.NoError(t, err)
		_, err = s.Open(t.Context(), good)
		require.NoError(t, err)
		require.NoError(t, s.Close())
	}
	entries, err := os.ReadDir(filepath.Join(dir, "corrupt"))
	require.NoError(t, err)
	require.Len(t, entries, 2, "remains and reason: %v", entries)

	// Other remains of the same name are not taken for these.
	require.NoError(t, os.WriteFile(filepath.Join(dir, "corrupt", bad), []byte("else"), 0o600))
	s, err = Open(dir, Options{MinFree: -1})
	require.NoError(t, err)
	require.NoError(t, s.Close())
	require.FileExists(t, filepath.Join(dir, "corrupt", bad+".2"))

	for i := 2; i <= 200; i++ {
		require.NoError(t, os.WriteFile(filepath.Join(dir, "corrupt", fmt.Sprintf("%s.%d", bad, i)), []byte("else"), 0o600))
	}
	s, err = Open(dir, Options{MinFree: -1})
	require.NoError(t, err, "no name is left")
	require.NoError(t, s.Close())
	files, err := filepath.Glob(filepath.Join(dir, "corrupt", "journal.*[0-9]"))
	require.NoError(t, err)
	require.Len(t, files, 1)
}

func flip(t *testing.T, name string, at int64) {
	f, err := os.OpenFile(name, os.O_RDWR, 0)
	require.NoError(t, err)
	defer f.Close()
	b := make([]byte, 1)
	_, err = f.ReadAt(b, at)
	require.NoError(t, err)
	_, err = f.WriteAt([]byte{b[0] ^ 1}, at)
	require.NoError(t, err)
}

func TestOpening(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "queue")
	_, err := Open(dir, Options{ReadOnly: true})
	require.ErrorIs(t, err, os.ErrNotExist)
	s, err := Open(dir, Options{MinFree: -1})
	require.NoError(t, err)
	id := put(t, s, small, 1)
	_, err = Open(dir, Options{})
	require.ErrorIs(t, err, queue.ErrLocked, "within the process too")

	look, err := Open(dir, Options{ReadOnly: true})
	require.NoError(t, err, "a tool may look")
	st, err := look.Open(t.Context(), id)
	require.NoError(t, err)
	require.Equal(t, "active", st.Queue)
	_, err = look.Begin(t.Context(), 0)
	require.ErrorIs(t, err, ErrReadOnly)
	_, err = look.Commit(t.Context(), nil, []queue.Change{{ID: id, Remove: true}})
	require.ErrorIs(t, err, ErrReadOnly)
	require.NoError(t, look.Close())
	require.NoError(t, s.Close())

	require.NoError(t, os.WriteFile(filepath.Join(dir, "tmp", id), []byte("draft"), 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "version"), []byte("mtakit filespool 9\n"), 0o600))
	_, err = Open(dir, Options{})
	require.ErrorIs(t, err, queue.ErrVersion)
	require.FileExists(t, filepath.Join(dir, "tmp", id), "nothing is touched")
	require.NoError(t, os.Remove(filepath.Join(dir, "version")))
	_, err = Open(dir, Options{})
	require.ErrorIs(t, err, queue.ErrVersion, "mail of which nobody knows the format")
	require.NoFileExists(t, filepath.Join(dir, "version"))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "version"), []byte(version), 0o600))
	s, err = Open(dir, Options{})
	require.NoError(t, err)
	require.NoFileExists(t, filepath.Join(dir, "tmp", id), "unfinished drafts are swept")
	require.NoError(t, s.Close())
}

func TestNoRoom(t *testing.T) {
	t.Parallel()
	disk := crashfs.New()
	s, err := Open("q", Options{FS: disk, MemoryPerDraft: 200})
	require.NoError(t, err)
	defer s.Close()
	d, err := s.Begin(t.Context(), 0)
	require.NoError(t, err)
	long, err := s.Begin(t.Context(), 1000)
	require.NoError(t, err)
	disk.SetFull(true)
	s.room.asked = time.Time{}

	full := func(err error) {
		t.Helper()
		var answer *smtp.SMTPError
		require.ErrorAs(t, err, &answer)
		require.Equal(t, 452, answer.Code)
		require.Equal(t, smtp.EnhancedCode{4, 3, 1}, answer.EnhancedCode)
	}
	_, err = s.Begin(t.Context(), 0)
	full(err)
	d.Write([]byte(small))
	_, err = d.Commit(t.Context(), testEnvelope(), nil)
	full(err)
	_, err = long.Write(make([]byte, 1000))
	full(err)
	_, err = long.Commit(t.Context(), testEnvelope(), nil)
	full(err)
	for _, dir := range []string{"tmp", "incoming", "active"} {
		err := disk.List(path.Join("q", dir), func(name string) { t.Errorf("%s is left in %s", name, dir) })
		require.NoError(t, err)
	}
	disk.SetFull(false)
	s.room.asked = time.Time{}
	put(t, s, small, 0)
	require.EqualValues(t, s.Memory, s.memory.left.Load(), "all memory came back")
}

// TestFailedRound fails the sync that several sessions share: all of them are
// told, also those that wait for the next one.
func TestFailedRound(t *testing.T) {
	t.Parallel()
	disk := crashfs.New()
	require.NoError(t, disk.Mkdir("d"))
	d := &directory{fs: disk, path: "d"}
	epoch := d.Epoch()
	disk.Inject(1, crashfs.Fault{Err: syscall.EIO})
	require.ErrorIs(t, d.sync(epoch), syscall.EIO)
	require.Error(t, d.sync(epoch), "changed before the failure")
	require.NoError(t, d.sync(d.Epoch()))
}

func TestClockGoesBack(t *testing.T) {
	t.Parallel()
	g, other := newIDs(), newIDs()
	other.node = [6]byte{'z', 'z', 'z', 'z', 'z', 'z'}
	now := time.Now()
	first := g.next(now)
	second := g.next(now.Add(-24 * time.Hour))
	require.Less(t, first, second, "IDs do not go back with the clock")
	require.NotEqual(t, g.next(now.Add(time.Hour)), other.next(now.Add(time.Hour)), "another process")
	require.True(t, validID(first) && len(first) <= 16, first)
	require.Less(t, second, g.next(now.Add(time.Second)))

	g, after := newIDs(), newIDs()
	last := g.next(now.Add(time.Hour))
	after.seen(last)
	require.Less(t, last, after.next(now), "the process before this one had a clock that was ahead")
	after.seen("zzzzzzzzzzzzzzzzzz")
	after.seen("x")
	require.Less(t, after.next(now), g.next(now.Add(48*time.Hour)), "nonsense is not heeded")
}

func TestAnswers(t *testing.T) {
	t.Parallel()
	var answer *smtp.SMTPError
	for _, full := range []error{syscall.ENOSPC, syscall.EDQUOT, syscall.EROFS} {
		require.ErrorAs(t, reply(&os.PathError{Err: full}), &answer)
		require.Equal(t, 452, answer.Code)
	}
	require.ErrorAs(t, reply(errors.New("anything")), &answer)
	require.Equal(t, 451, answer.Code)
	require.NotContains(t, answer.Message, "anything", "the cause is not for the peer")
	require.NoError(t, reply(nil))
}
