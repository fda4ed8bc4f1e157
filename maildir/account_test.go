package maildir_test

import (
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/emersion/go-smtp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/mtakit/mtakit"
	"github.com/mtakit/mtakit/internal/disktest"
	"github.com/mtakit/mtakit/maildir"
)

const alice = "alice@example.org"

// sized makes an agent with a quota for alice; "" is none in the table.
func sized(t *testing.T, quota string) (*maildir.Agent, string) {
	t.Helper()
	a, dir := newAgent(t)
	quotas := table{}
	if quota != "" {
		quotas[alice] = quota
	}
	a.Quotas = quotas
	return a, filepath.Join(dir, "example.org/alice")
}

// outcome delivers to alice and says what became of it.
func outcome(t *testing.T, a *maildir.Agent, text string) mtakit.Result {
	t.Helper()
	return a.Deliver(t.Context(), delivery(text, alice))[0]
}

func read(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	require.NoError(t, err)
	return string(b)
}

func put(t *testing.T, path, text string) {
	t.Helper()
	require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o700))
	require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
}

func TestQuota(t *testing.T) {
	t.Parallel()
	a, box := sized(t, "1000000S,3C")
	first := outcome(t, a, mail)
	require.Equal(t, mtakit.Delivered, first.Outcome, first.Diagnostic)
	name := files(t, box+"/new/*")[0]
	size := name[strings.LastIndex(name, "=")+1:]
	assert.Equal(t, "1000000S,3C\n0 0          \n"+(size + " 1            ")[:13]+"\n", read(t, box+"/maildirsize"))
	for range 2 {
		require.Equal(t, mtakit.Delivered, outcome(t, a, mail).Outcome)
	}
	r := outcome(t, a, mail)
	assert.Equal(t, mtakit.Bounced, r.Outcome)
	assert.Equal(t, smtp.EnhancedCode{5, 2, 2}, r.Status)
	a.DeferOverQuota = true
	r = outcome(t, a, mail)
	assert.Equal(t, mtakit.Deferred, r.Outcome)
	assert.Equal(t, smtp.EnhancedCode{4, 2, 2}, r.Status)
	assert.Empty(t, files(t, box+"/tmp/*"))

	// What nobody told of is seen when the file is old, or has more than one entry.
	require.NoError(t, os.Remove(name))
	assert.Equal(t, mtakit.Deferred, outcome(t, a, mail).Outcome, "counted just now")
	past := time.Now().Add(-15 * time.Minute)
	require.NoError(t, os.Chtimes(box+"/maildirsize", past, past))
	assert.Equal(t, mtakit.Delivered, outcome(t, a, mail).Outcome)
	assert.Len(t, files(t, box+"/new/*"), 3)
}

func TestQuotaOfBytes(t *testing.T) {
	t.Parallel()
	a, box := sized(t, "20000")
	require.Equal(t, mtakit.Delivered, outcome(t, a, mail+strings.Repeat("x", 15000)).Outcome)
	require.Equal(t, mtakit.Bounced, outcome(t, a, mail+strings.Repeat("x", 15000)).Outcome)
	require.Equal(t, mtakit.Delivered, outcome(t, a, mail).Outcome, "a small one fits")
	assert.True(t, strings.HasPrefix(read(t, box+"/maildirsize"), "20000S\n"))
	a.Quotas = table{alice: "40000S"}
	require.Equal(t, mtakit.Delivered, outcome(t, a, mail+strings.Repeat("x", 15000)).Outcome)
	assert.True(t, strings.HasPrefix(read(t, box+"/maildirsize"), "40000S\n"))
	a.Quotas = table{alice: "0"}
	require.Equal(t, mtakit.Delivered, outcome(t, a, mail+strings.Repeat("x", 50000)).Outcome)
}

// TestQuotaOfFile: whom the table does not know has the quota that other programs
// have put into the Maildir.
func TestQuotaOfFile(t *testing.T) {
	t.Parallel()
	a, box := sized(t, "")
	require.Equal(t, mtakit.Delivered, outcome(t, a, mail).Outcome)
	assert.NoFileExists(t, box+"/maildirsize")
	put(t, box+"/maildirsize", "2C\n")
	require.Equal(t, mtakit.Delivered, outcome(t, a, mail).Outcome)
	require.Equal(t, mtakit.Bounced, outcome(t, a, mail).Outcome)
}

// TestFoldersCount: all folders but Trash, by the names of their files or else
// their sizes, and a folder is charged to its Maildir.
func TestFoldersCount(t *testing.T) {
	t.Parallel()
	a, box := sized(t, "100000S")
	put(t, box+"/cur/1.a.h,S=1000:2,S", "not as long")
	put(t, box+"/cur/2.a.h:2,ST", strings.Repeat("x", 200))
	put(t, box+"/.Sent/cur/3.a.h,S=3000:2,S", "")
	put(t, box+"/.Sent/maildirfolder", "")
	put(t, box+"/.Sent/new/4.a.h,S=1", "")
	put(t, box+"/.Sent/tmp/5.a.h,S=50000", "")
	put(t, box+"/.Trash/cur/6.a.h,S=50000:2,S", "")
	put(t, box+"/cur/.hidden,S=50000", "")
	put(t, box+"/plain/cur/7.a.h,S=50000", "")
	require.NoError(t, os.Symlink(t.TempDir(), box+"/.Link"))
	require.Equal(t, mtakit.Delivered, outcome(t, a, mail).Outcome)
	assert.Contains(t, read(t, box+"/maildirsize"), "100000S\n4201 4       \n")

	a.Mailboxes = table{alice: "example.org/alice/.Sent/"}
	require.Equal(t, mtakit.Delivered, outcome(t, a, mail).Outcome)
	assert.NoFileExists(t, box+"/.Sent/maildirsize")
	assert.Equal(t, 4, strings.Count(read(t, box+"/maildirsize"), "\n"))
	assert.Len(t, files(t, box+"/.Sent/new/*"), 2)
}

// TestQuotaHolds has many deliveries at the limit, of one message to one Maildir by
// several ways and of many messages, while somebody removes the file. No more get
// in than fit, and as many as fit do.
func TestQuotaHolds(t *testing.T) {
	t.Parallel()
	a, box := sized(t, "30C")
	quotas, boxes := table{}, table{}
	for _, name := range []string{alice, "sales@example.org", "info@example.org"} {
		quotas[name], boxes[name] = "30C", "example.org/alice/"
	}
	a.Quotas, a.Mailboxes = quotas, boxes
	var delivered, bounced atomic.Int64
	var group sync.WaitGroup
	for n := range 20 {
		group.Go(func() {
			for range 4 {
				for _, r := range a.Deliver(t.Context(), delivery(mail, alice, "sales@example.org", "info@example.org")) {
					switch r.Outcome {
					case mtakit.Delivered:
						delivered.Add(1)
					case mtakit.Bounced:
						bounced.Add(1)
					}
				}
				if n == 0 {
					_ = os.Remove(box + "/maildirsize")
				}
			}
		})
	}
	group.Wait()
	assert.EqualValues(t, 30, delivered.Load())
	assert.EqualValues(t, 20*4*3-30, bounced.Load())
	assert.Len(t, files(t, box+"/new/*"), 30)
	assert.Empty(t, files(t, box+"/tmp/*"))
}

// TestQuotaOfTwoAgents: two programs exceed a quota by what is under way in the
// other at most, and then it holds.
func TestQuotaOfTwoAgents(t *testing.T) {
	t.Parallel()
	a, box := sized(t, "20C")
	root, err := os.OpenRoot(filepath.Dir(filepath.Dir(box)))
	require.NoError(t, err)
	defer root.Close()
	b := &maildir.Agent{Root: root, Mailboxes: mailboxes, Quotas: table{alice: "20C"}}
	defer b.Close()
	const each = 4 // deliveries at a time
	var group sync.WaitGroup
	for n := range 2 * each {
		group.Go(func() {
			for range 20 {
				[]*maildir.Agent{a, b}[n%2].Deliver(t.Context(), delivery(mail, alice))
			}
		})
	}
	group.Wait()
	n := len(files(t, box+"/new/*"))
	assert.GreaterOrEqual(t, n, 20)
	assert.LessOrEqual(t, n, 20+each)
	past := time.Now().Add(-time.Hour)
	require.NoError(t, os.Chtimes(box+"/maildirsize", past, past))
	assert.Equal(t, mtakit.Bounced, outcome(t, a, mail).Outcome)
}

// TestHostileSizes has everything in the place of maildirsize that is none. Mail
// comes in, the quota holds, and nothing elsewhere changes.
func TestHostileSizes(t *testing.T) {
	t.Parallel()
	victim := func(box string) string { return filepath.Join(filepath.Dir(box), "victim") }
	for name, plant := range map[string]func(path string) error{
		"empty": func(path string) error { return os.WriteFile(path, nil, 0o600) },
		"NULs":  func(path string) error { return os.WriteFile(path, make([]byte, 4096), 0o600) },
		"huge": func(path string) error {
			return os.WriteFile(path, []byte("2C\n"+strings.Repeat("0 0\n", 1<<20)), 0o600)
		},
		"lies":            func(path string) error { return os.WriteFile(path, []byte("2C\n-1000 -1000\n"), 0o600) },
		"a directory":     func(path string) error { return os.Mkdir(path, 0o700) },
		"a pipe":          func(path string) error { return syscall.Mkfifo(path, 0o600) },
		"a link":          func(path string) error { return os.Symlink("../victim", path) },
		"a link outside":  func(path string) error { return os.Symlink("/etc/passwd", path) },
		"a dangling link": func(path string) error { return os.Symlink("nowhere", path) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a, box := sized(t, "2C")
			put(t, victim(box), "2C\n0 0\n")
			require.Equal(t, mtakit.Delivered, outcome(t, a, mail).Outcome)
			require.NoError(t, os.Remove(box+"/maildirsize"))
			require.NoError(t, plant(box+"/maildirsize"))
			require.Equal(t, mtakit.Delivered, outcome(t, a, mail).Outcome)
			require.Equal(t, mtakit.Bounced, outcome(t, a, mail).Outcome)
			assert.Equal(t, "2C\n0 0\n", read(t, victim(box)))
			assert.Empty(t, files(t, box+"/tmp/*"))
		})
	}
}

func TestQuotaTableFails(t *testing.T) {
	t.Parallel()
	for quota, status := range map[string]smtp.EnhancedCode{"10M": {4, 3, 5}, "-1S": {4, 3, 5}} {
		a, box := sized(t, quota)
		r := outcome(t, a, mail)
		assert.Equal(t, mtakit.Deferred, r.Outcome)
		assert.Equal(t, status, r.Status)
		assert.NoDirExists(t, box)
	}
	a, _ := sized(t, "")
	a.Mailboxes = table{"broken": "x/"}
	a.Quotas = verifyTable{alice: "!"}
	a.Mailboxes = mailboxes
	assert.Equal(t, smtp.EnhancedCode{4, 3, 0}, outcome(t, a, mail).Status)
}

// TestFullDiskQuota: without space for maildirsize mail is still counted, and what
// does not get in is not.
func TestFullDiskQuota(t *testing.T) {
	t.Parallel()
	disk := disktest.New(t, "ext4", 8)
	root, err := os.OpenRoot(disk.Dir)
	require.NoError(t, err)
	defer root.Close()
	a := &maildir.Agent{Root: root, Mailboxes: mailboxes, Quotas: table{alice: "1000000000S,1000000C"}}
	defer a.Close()
	box := filepath.Join(disk.Dir, "example.org/alice")
	delivered := 0
	for _, size := range []int{400_000, 40_000, 400} {
		for r := outcome(t, a, mail+strings.Repeat("x", size)); r.Outcome == mtakit.Delivered; r = outcome(t, a, mail+strings.Repeat("x", size)) {
			delivered++
		}
	}
	require.Len(t, files(t, box+"/new/*"), delivered)
	a.Quotas = table{alice: "1C"}
	assert.NotEqual(t, mtakit.Delivered, outcome(t, a, mail).Outcome)
	for _, name := range files(t, box+"/new/*")[1:] {
		require.NoError(t, os.Remove(name))
	}
	a.Quotas = table{alice: "2C"}
	require.Equal(t, mtakit.Delivered, outcome(t, a, mail).Outcome)
	require.Equal(t, mtakit.Bounced, outcome(t, a, mail).Outcome)
}

// TestUncountedWhenUndone: a letter that does not get there leaves nothing in the
// account.
func TestUncountedWhenUndone(t *testing.T) {
	t.Parallel()
	a, box := sized(t, "2C")
	require.Equal(t, mtakit.Delivered, outcome(t, a, mail).Outcome)
	d := delivery(mail, alice)
	d.Message.Body = failingBody{}
	for range 3 {
		require.Equal(t, mtakit.Deferred, a.Deliver(t.Context(), d)[0].Outcome)
	}
	require.Equal(t, mtakit.Delivered, outcome(t, a, mail).Outcome)
	require.Equal(t, 4, strings.Count(read(t, box+"/maildirsize"), "\n"))
}

// TestVerifyQuota: it says whether a message fits, keeps nobody's place, and makes
// no mailbox.
func TestVerifyQuota(t *testing.T) {
	t.Parallel()
	a, box := sized(t, "5000S")
	verify := func(size int) mtakit.Result {
		return a.Verify(t.Context(), delivery("Subject: x\r\n\r\n"+strings.Repeat("x", size), alice))[0]
	}
	for range 3 {
		require.Equal(t, mtakit.Delivered, verify(3000).Outcome)
		require.Equal(t, smtp.EnhancedCode{5, 2, 2}, verify(6000).Status)
	}
	require.NoDirExists(t, box)
	require.Equal(t, mtakit.Delivered, outcome(t, a, mail+strings.Repeat("x", 3000)).Outcome)
	require.Equal(t, smtp.EnhancedCode{5, 2, 2}, verify(3000).Status)
	require.Equal(t, mtakit.Delivered, verify(100).Outcome)
	a.DeferOverQuota = true
	require.Equal(t, smtp.EnhancedCode{4, 2, 2}, verify(3000).Status)
	require.NoError(t, os.RemoveAll(box))
	require.NoError(t, os.Symlink("/etc", box))
	require.Equal(t, mtakit.Deferred, verify(10).Outcome)
}
