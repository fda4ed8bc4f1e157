package maildir_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/emersion/go-smtp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/mtakit/mtakit"
	"github.com/mtakit/mtakit/internal/disktest"
	"github.com/mtakit/mtakit/maildir"
)

// TestRealDisk delivers onto a file system that gets full, that is cleared, and
// that the kernel makes read-only: mail waits, and nothing is left half.
func TestRealDisk(t *testing.T) {
	t.Parallel()
	disk := disktest.New(t, "ext4", 8)
	root, err := os.OpenRoot(disk.Dir)
	require.NoError(t, err)
	a := &maildir.Agent{Root: root, Mailboxes: mailboxes}
	box := filepath.Join(disk.Dir, "example.org/alice")
	deliver := func(size int) mtakit.Result {
		text := "Subject: x\r\n\r\n" + strings.Repeat("x", size)
		return a.Deliver(t.Context(), delivery(text, "alice@example.org"))[0]
	}
	delivered := 0
	for _, size := range []int{400_000, 40_000, 400} {
		for {
			r := deliver(size)
			if r.Outcome != mtakit.Delivered {
				require.Equal(t, mtakit.Deferred, r.Outcome)
				require.Equal(t, smtp.EnhancedCode{4, 3, 1}, r.Status, r.Diagnostic)
				break
			}
			delivered++
		}
	}
	require.Greater(t, delivered, 10)
	files, err := filepath.Glob(filepath.Join(box, "new", "*"))
	require.NoError(t, err)
	require.Len(t, files, delivered)
	for _, file := range files {
		info, err := os.Stat(file)
		require.NoError(t, err)
		assert.True(t, strings.HasSuffix(file, sizeSuffix(info.Size())), file)
	}
	left, err := os.ReadDir(filepath.Join(box, "tmp"))
	require.NoError(t, err)
	require.Empty(t, left)

	require.NoError(t, os.Remove(files[0]))
	require.Equal(t, mtakit.Delivered, deliver(400).Outcome, "there is room again")
	disk.Break(t)
	r := deliver(400)
	require.Equal(t, mtakit.Deferred, r.Outcome)
	require.Equal(t, smtp.EnhancedCode{4, 3, 0}, r.Status)
	require.NoError(t, a.Close())
	require.NoError(t, root.Close())
	disk.Repair(t)
	root, err = os.OpenRoot(disk.Dir)
	require.NoError(t, err)
	defer root.Close()
	a.Root = root
	defer a.Close()
	require.NoError(t, os.Remove(files[1]))
	require.Equal(t, mtakit.Delivered, deliver(400).Outcome, "and it goes on")
}

// TestTwoDisks has mailboxes on two file systems, each with its own syncs; the
// recipients of one message are on both. One breaks, and the other goes on.
func TestTwoDisks(t *testing.T) {
	t.Parallel()
	one, two := disktest.New(t, "ext4", 16), disktest.New(t, "ext4", 16)
	dir := t.TempDir()
	boxes := table{}
	for name, disk := range map[string]*disktest.Disk{"one": one, "two": two} {
		require.NoError(t, os.Mkdir(filepath.Join(dir, name), 0o700))
		require.NoError(t, exec.Command("mount", "--bind", disk.Dir, filepath.Join(dir, name)).Run())
		t.Cleanup(func() { _ = exec.Command("umount", filepath.Join(dir, name)).Run() })
		boxes["a@"+name], boxes["b@"+name] = name+"/a/", name+"/b/"
	}
	root, err := os.OpenRoot(dir)
	require.NoError(t, err)
	defer root.Close()
	a := &maildir.Agent{Root: root, Mailboxes: boxes, SyncFS: true}
	defer a.Close()
	all := func() (delivered []string) {
		for i, r := range a.Deliver(t.Context(), delivery(mail, "a@one", "a@two", "b@one", "b@two")) {
			if r.Outcome == mtakit.Delivered {
				delivered = append(delivered, []string{"a@one", "a@two", "b@one", "b@two"}[i])
			}
		}
		return delivered
	}
	var group sync.WaitGroup
	for range 10 {
		group.Go(func() { assert.Len(t, all(), 4) })
	}
	group.Wait()
	one.Break(t)
	require.Equal(t, []string{"a@two", "b@two"}, all())
	for name, n := range map[string]int{"one": 10, "two": 11} {
		for _, box := range []string{"a", "b"} {
			require.Len(t, files(t, filepath.Join(dir, name, box, "new", "*")), n)
		}
	}
	require.Error(t, exec.Command("umount", filepath.Join(dir, "two")).Run(), "the agent has it open")
	require.NoError(t, a.Close())
	require.NoError(t, exec.Command("umount", filepath.Join(dir, "two")).Run())
}

// TestFolderIsMissing has somebody remove one of the three folders.
func TestFolderIsMissing(t *testing.T) {
	t.Parallel()
	for _, folder := range []string{"tmp", "new", "cur"} {
		a, dir := newAgent(t)
		for n := range 2 {
			r := a.Deliver(t.Context(), delivery(mail, "alice@example.org"))[0]
			require.Equal(t, mtakit.Delivered, r.Outcome, r.Diagnostic)
			if n == 0 {
				require.NoError(t, os.RemoveAll(filepath.Join(dir, "example.org/alice", folder)))
			}
		}
		left, err := os.ReadDir(filepath.Join(dir, "example.org/alice/tmp"))
		require.NoError(t, err)
		require.Empty(t, left)
	}
}

func sizeSuffix(n int64) string { return fmt.Sprintf(",S=%d", n) }
