package filespool

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path"
	"path/filepath"
	"reflect"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/emersion/go-smtp"
	"github.com/stretchr/testify/assert"
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

// sample is the file of a message with two synced records, and where the
// first one starts.
func sample(t testing.TB) (raw []byte, records int) {
	dir := t.TempDir()
	s, err := Open(dir, Options{MinFree: -1})
	require.NoError(t, err)
	defer s.Close()
	id := put(t, s, small, 1)
	records = int(s.known.get(id).end)
	must(t, s, queue.Change{ID: id, Marks: []queue.Mark{{Recipient: 0, State: queue.Done}}})
	must(t, s, queue.Change{ID: id, Marks: []queue.Mark{{Recipient: 1, State: queue.Failed}}})
	raw, err = os.ReadFile(filepath.Join(dir, "active", id))
	require.NoError(t, err)
	return raw, records
}

type memory0 []byte

func (m memory0) ReadAt(p []byte, off int64) (int, error) { return bytes.NewReader(m).ReadAt(p, off) }
func (m memory0) WriteAt([]byte, int64) (int, error)      { return 0, syscall.EBADF }
func (m memory0) Close() error                            { return nil }
func (m memory0) Size() (int64, error)                    { return int64(len(m)), nil }
func (m memory0) Truncate(int64) error                    { return syscall.EBADF }
func (m memory0) Sync() error                             { return syscall.EBADF }

// TestEveryBit flips every bit of a file: it is noticed, or it was in the last
// record, which cannot be told from one that was never finished.
func TestEveryBit(t *testing.T) {
	t.Parallel()
	raw, records := sample(t)
	first, _, n := nextRecord(raw[records:], mustHead(t, raw).salt)
	require.NotEmpty(t, first)
	last := records + n
	for i := range len(raw) * 8 {
		bad := memory0(bytes.Clone(raw))
		bad[i/8] ^= 1 << (i % 8)
		im, err := readImage(bad, inMemory)
		if i/8 < last {
			require.ErrorIs(t, err, errDamaged, "bit %d", i)
			continue
		}
		require.NoError(t, err, "bit %d", i)
		require.Equal(t, queue.Done, im.marks[0].State)
		require.EqualValues(t, last, im.end, "the torn record is not part of it")
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
	f.Add([]byte{}, []byte{trailerEnvelope, 0}, []byte{recRemove, 1, 1}, []byte{recHold, 1, 'h'}, uint16(300), byte(0))
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
	flip(t, filepath.Join(dir, "active", bad), headSize+int64(len(small))+3)
	flip(t, filepath.Join(dir, "incoming", long), headSize+1000)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "active", "README.txt"), []byte("mine"), 0o600))

	var corrupt *queue.CorruptError
	var left []string
	for e, err := range s.Entries(t.Context()) {
		if err == nil {
			left = append(left, e.ID)
			continue
		}
		require.ErrorAs(t, err, &corrupt)
	}
	require.ElementsMatch(t, []string{good, long}, left, "everything else goes on")
	require.Equal(t, bad, corrupt.ID)
	require.FileExists(t, filepath.Join(dir, "corrupt", bad))
	require.FileExists(t, filepath.Join(dir, "corrupt", bad+".reason"))
	require.FileExists(t, filepath.Join(dir, "active", "README.txt"))
	_, err = s.Open(t.Context(), bad)
	require.ErrorIs(t, err, queue.ErrNotFound)

	st, err := s.Open(t.Context(), long)
	require.NoError(t, err)
	_, err = st.Message.WriteTo(new(bytes.Buffer))
	require.ErrorAs(t, err, &corrupt, "the reader is told at the end")
	require.NoError(t, s.Check(t.Context(), good))
	require.ErrorAs(t, s.Check(t.Context(), long), &corrupt)
	require.FileExists(t, filepath.Join(dir, "corrupt", long))
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
	for _, dir := range []string{"tmp", "incoming", "active", "undo"} {
		names, err := disk.List(path.Join("q", dir))
		require.NoError(t, err)
		assert.Empty(t, names, "nothing is left in %s", dir)
	}
	disk.SetFull(false)
	s.room.asked = time.Time{}
	put(t, s, small, 0)
	require.EqualValues(t, s.Memory, s.memory.left.Load(), "all memory came back")
}

// TestLostSync fails the sync of a mark: the mark is not there, and the next one
// goes into a new file, since no later sync of the old one could be believed.
func TestLostSync(t *testing.T) {
	t.Parallel()
	disk := crashfs.New()
	s, err := Open("q", Options{FS: disk})
	require.NoError(t, err)
	id := put(t, s, small, 1)
	disk.Inject(2, crashfs.Fault{Err: syscall.EIO}) // the write, then the sync
	_, err = s.Commit(t.Context(), nil, []queue.Change{{ID: id, Marks: []queue.Mark{{Recipient: 0, State: queue.Done}}}})
	require.ErrorIs(t, err, syscall.EIO)
	st, err := s.Open(t.Context(), id)
	require.NoError(t, err)
	require.Equal(t, queue.Pending, st.Marks[0].State)
	must(t, s, queue.Change{ID: id, Marks: []queue.Mark{{Recipient: 1, State: queue.Done}}})

	s, err = Open("q", Options{FS: disk.Restart(nil)})
	require.NoError(t, err)
	st, err = s.Open(t.Context(), id)
	require.NoError(t, err)
	require.Equal(t, queue.Pending, st.Marks[0].State)
	require.Equal(t, queue.Done, st.Marks[1].State)
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
	other.node = [4]byte{'z', 'z', 'z', 'z'}
	now := time.Now()
	first := g.next(now)
	second := g.next(now.Add(-24 * time.Hour))
	require.Less(t, first, second, "IDs do not go back with the clock")
	require.NotEqual(t, g.next(now.Add(time.Hour)), other.next(now.Add(time.Hour)), "another process")
	require.True(t, validID(first) && len(first) <= 14, first)
	require.Less(t, second, g.next(now.Add(time.Second)))
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
