// Command postdrop leaves a message in the maildrop for a user who may not write
// there himself. It is run by examples/sendmail, and installed setgid: see
// README.md. It reads a submission in the format of queue.Maildrop, which must say
// the length of the message, so that the rest of one that was cut off is not
// taken for the whole. It writes the name of the file to standard output.
//
//	postdrop [DIRECTORY]
//
// DIRECTORY is the maildrop. With the rights of a group that its user does not
// have, it uses none but the one that it was built for.
//
// It ends with a code of sysexits(3): 0 when the message is on disk, 65 when it
// is no submission, 75 when it may be tried again, 77 when it has no right to
// write there, and 64 and 78 when it is used or installed in the wrong way.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"

	"github.com/mtakit/mtakit/queue"
)

// What it was built for: go build -ldflags "-X main.directory=... -X main.limit=...".
var (
	directory = "/var/spool/mtakit/queue/maildrop"
	limit     = "10240000" // bytes of a submission
)

// sysexits(3).
const (
	exitOK       = 0
	exitUsage    = 64
	exitDataErr  = 65
	exitTempFail = 75
	exitNoPerm   = 77
	exitConfig   = 78
)

func main() {
	// Nothing of what the caller has set up is needed, so nothing of it can harm:
	// it may be anybody.
	os.Clearenv()
	syscall.Umask(0o077)
	// Both come as errors of write(2) instead, so that the half of a file is removed.
	signal.Ignore(syscall.SIGPIPE, syscall.SIGXFSZ)
	ctx, stop := interruptible()
	name, err := run(ctx, os.Args, os.Stdin)
	stop()
	if err != nil {
		fmt.Fprintf(os.Stderr, "postdrop: %s\n", printable(err.Error()))
		os.Exit(code(err))
	}
	fmt.Println(name)
	os.Exit(exitOK)
}

// interruptible returns a context that ends with the signals that the caller does
// not want to be ignored.
func interruptible() (context.Context, context.CancelFunc) {
	var signals []os.Signal
	for _, s := range []os.Signal{syscall.SIGHUP, syscall.SIGINT, syscall.SIGQUIT, syscall.SIGALRM} {
		if !signal.Ignored(s) {
			signals = append(signals, s)
		}
	}
	return signal.NotifyContext(context.Background(), append(signals, syscall.SIGTERM)...)
}

var (
	errUsage  = errors.New("usage: postdrop [DIRECTORY]")
	errConfig = errors.New("installed in the wrong way")
)

func run(ctx context.Context, args []string, stdin io.Reader) (name string, err error) {
	if err := own(); err != nil {
		return "", err
	}
	dir := directory
	switch {
	case len(args) > 2:
		return "", errUsage
	case len(args) == 2 && args[1] != directory && privileged():
		return "", fmt.Errorf("%w: %w: another directory than %s", errUsage, fs.ErrPermission, directory)
	case len(args) == 2:
		dir = args[1]
	}
	most, err := strconv.ParseInt(limit, 10, 64)
	if err != nil {
		return "", fmt.Errorf("%w: limit %q", errConfig, limit)
	}
	// Reading may wait for long: when a signal ends ctx, nobody waits for the reader.
	in, out := io.Pipe()
	go func() {
		_, err := io.Copy(out, io.LimitReader(stdin, most+1))
		out.CloseWithError(err)
	}()
	stop := context.AfterFunc(ctx, func() { out.CloseWithError(ctx.Err()) })
	defer stop()
	return drop(ctx, dir, in, most)
}

// drop reads a submission and leaves it.
func drop(ctx context.Context, dir string, in io.Reader, most int64) (string, error) {
	env, message, err := queue.ReadSubmission(in, 0)
	switch {
	case err != nil:
		return "", err
	case env.Options.Size == 0:
		return "", fmt.Errorf("%w: the length of the message is missing", queue.ErrSubmission)
	case env.Options.Size > most:
		return "", fmt.Errorf("%w: more than %d bytes", queue.ErrSubmission, most)
	}
	for name := range env.Attrs {
		if name != queue.AttrFullName && os.Getuid() != 0 {
			return "", fmt.Errorf("%w: attributes are for root", queue.ErrSubmission)
		}
	}
	return queue.Drop(ctx, dir, env, message)
}

// own makes the user who runs this the owner of what it creates, whatever else
// ran it: the owner is the submitter.
func own() error {
	uid := os.Getuid()
	if uid == os.Geteuid() {
		return nil
	}
	return syscall.Setreuid(uid, uid)
}

// privileged reports whether this process may do what its user may not.
func privileged() bool { return os.Getgid() != os.Getegid() }

func code(err error) int {
	switch {
	case errors.Is(err, errUsage):
		return exitUsage
	case errors.Is(err, errConfig), errors.Is(err, fs.ErrNotExist):
		return exitConfig
	case errors.Is(err, queue.ErrSubmission):
		return exitDataErr
	case errors.Is(err, fs.ErrPermission):
		return exitNoPerm
	}
	return exitTempFail
}

// printable is text that a terminal can be given: some of it comes from whoever
// wrote the submission.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r >= 0x7f && r < 0xa0 {
			return '?'
		}
		return r
	}, s)
}
