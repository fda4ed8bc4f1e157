package crashfs_test

import (
	"fmt"
	"io"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mtakit/mtakit/internal/crashfs"
)

func write(t testing.TB, d *crashfs.Disk, name, content string, synced bool) crashfs.File {
	f, err := d.Open(name, os.O_RDWR|os.O_CREATE)
	require.NoError(t, err)
	_, err = f.WriteAt([]byte(content), 0)
	require.NoError(t, err)
	if synced {
		require.NoError(t, f.Sync())
	}
	return f
}

func read(t testing.TB, d *crashfs.Disk, name string) string {
	f, err := d.Open(name, os.O_RDONLY)
	if err != nil {
		require.ErrorIs(t, err, fs.ErrNotExist)
		return "-"
	}
	size, err := f.Size()
	require.NoError(t, err)
	b, err := io.ReadAll(io.NewSectionReader(f, 0, size))
	require.NoError(t, err)
	return string(b)
}

// two returns a disk with the directories a and b, which are durable.
func two(t testing.TB) *crashfs.Disk {
	d := crashfs.New()
	require.NoError(t, d.Mkdir("a"))
	require.NoError(t, d.Mkdir("b"))
	require.NoError(t, d.SyncDir("/"))
	return d
}

func TestWhatSurvives(t *testing.T) {
	t.Parallel()
	d := two(t)
	write(t, d, "a/whole", "1", true)
	write(t, d, "a/no-data", "1", false)
	require.NoError(t, d.SyncDir("a"))
	write(t, d, "a/no-name", "1", true)
	after := d.Restart(nil)
	require.Equal(t, "1", read(t, after, "a/whole"))
	require.Equal(t, "", read(t, after, "a/no-data"))
	require.Equal(t, "-", read(t, after, "a/no-name"))
	_, err := d.Open("a/whole", os.O_RDONLY)
	require.ErrorIs(t, err, crashfs.ErrCrashed)
}

func TestMoveBetweenDirectories(t *testing.T) {
	t.Parallel()
	for _, synced := range []string{"", "a", "b"} {
		d := two(t)
		write(t, d, "a/f", "1", true)
		require.NoError(t, d.SyncDir("a"))
		require.NoError(t, d.Move("a/f", "b/f"))
		if synced != "" {
			require.NoError(t, d.SyncDir(synced))
		}
		after := d.Restart(nil)
		want := map[string][2]string{"": {"1", "-"}, "a": {"-", "-"}, "b": {"1", "1"}}[synced]
		require.Equal(t, want, [2]string{read(t, after, "a/f"), read(t, after, "b/f")}, "synced %q", synced)
	}
}

func TestFailedSyncDropsPages(t *testing.T) {
	t.Parallel()
	d := two(t)
	f := write(t, d, "a/f", "1", true)
	require.NoError(t, d.SyncDir("a"))
	_, err := f.WriteAt([]byte("2"), 1)
	require.NoError(t, err)
	d.Inject(1, crashfs.Fault{Err: syscall.EIO})
	require.ErrorIs(t, f.Sync(), syscall.EIO)
	require.NoError(t, f.Sync(), "the next one says that all is well")
	require.Equal(t, "12", read(t, d, "a/f"))
	require.Equal(t, "1", read(t, d.Restart(nil), "a/f"))
}

// TestFailedSyncAll drops what others have written too: they learn of it.
func TestFailedSyncAll(t *testing.T) {
	t.Parallel()
	d := two(t)
	f, other := write(t, d, "a/f", "1", true), write(t, d, "a/other", "1", true)
	require.NoError(t, d.SyncDir("a"))
	_, err := f.WriteAt([]byte("2"), 0)
	require.NoError(t, err)
	whole, err := d.OpenWhole("/")
	require.NoError(t, err)
	d.Inject(1, crashfs.Fault{Err: syscall.EIO})
	require.ErrorIs(t, whole.SyncAll(), syscall.EIO)
	require.NoError(t, other.SyncData(), "nothing of it was lost")
	require.ErrorIs(t, f.SyncData(), syscall.EIO)
	require.NoError(t, f.SyncData(), "it is told once")
	require.Equal(t, "1", read(t, d.Restart(nil), "a/f"))
}

func TestFaults(t *testing.T) {
	t.Parallel()
	d := two(t)
	f := write(t, d, "a/f", "", false)
	d.Inject(1, crashfs.Fault{Err: syscall.ENOSPC, Short: true})
	n, err := f.WriteAt([]byte("1234"), 0)
	require.ErrorIs(t, err, syscall.ENOSPC)
	require.Equal(t, 2, n)
	require.Equal(t, "12", read(t, d, "a/f"))
	require.ErrorIs(t, d.Link("a/f", "a/f"), fs.ErrExist)
	require.NoError(t, d.Link("a/f", "b/f"))
	require.ErrorIs(t, d.Move("a/f", "b/f"), fs.ErrExist)
	require.NoError(t, d.Replace("a/f", "b/f"))

	first, err := d.Lock("lock")
	require.NoError(t, err)
	_, err = d.Lock("lock")
	require.ErrorIs(t, err, fs.ErrExist)
	require.NoError(t, first.Close())
	killed := d.Exit()
	require.Equal(t, "12", read(t, killed, "b/f"), "a killed process loses nothing that it wrote")
	killed.Inject(1, crashfs.Fault{Err: crashfs.ErrCrash})
	require.ErrorIs(t, killed.Remove("b/f"), crashfs.ErrCrashed)
	require.True(t, killed.Crashed())
}

// TestChance looks whether a crash has every result that it can have.
func TestChance(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for seed := range uint64(400) {
		d := two(t)
		f := write(t, d, "a/f", "", true)
		require.NoError(t, d.SyncDir("a"))
		f.WriteAt([]byte("xy"), 0)
		d.Move("a/f", "b/f")
		after := d.Restart(rand.New(rand.NewPCG(seed, 0)))
		seen[fmt.Sprintf("%q %q", read(t, after, "a/f"), read(t, after, "b/f"))] = true
	}
	for _, want := range []string{`"xy" "-"`, `"-" "xy"`, `"-" "-"`, `"xy" "xy"`, `"x" "-"`, `"\x00y" "-"`, `"" ""`} {
		require.True(t, seen[want], "%s of %v", want, slices.Collect(maps.Keys(seen)))
	}
}

// Example writes a file, forgets to sync its directory, and pulls the plug.
func Example() {
	d := crashfs.New()
	f, err := d.Open("mail", os.O_RDWR|os.O_CREATE)
	if err != nil {
		fmt.Println(err)
		return
	}
	f.WriteAt([]byte("Subject: hello\r\n"), 0)
	fmt.Println(f.Sync())
	var names []string
	err = d.Restart(nil).List("/", func(name string) { names = append(names, name) })
	fmt.Println(names, err)
	// Output:
	// <nil>
	// [] <nil>
}
