package local

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"github.com/emersion/go-smtp"

	"github.com/mtakit/mtakit"
)

// Commands runs commands that get messages on their standard input. The zero value is
// ready.
type Commands struct {
	// Time is how long one may take, after which it and all its children are killed, and
	// the mail waits; 0 means 1000 seconds (command_time_limit).
	Time time.Duration
	// Env is put to the variables that local(8) documents, "NAME=value"; nil adds none.
	Env []string
	// Dir is where they run; "" means "/".
	Dir string
}

// maxOutput is how much of what a command says is kept, in bytes.
const maxOutput = 4096

// run gives a message to a command of sh(1), and says what its end means.
func (c *Commands) run(ctx context.Context, l letter, command string, u User) mtakit.Result {
	limit := cmp.Or(c.Time, 1000*time.Second)
	ctx, cancel := context.WithTimeoutCause(ctx, limit, errTime)
	defer cancel()
	cmd := exec.CommandContext(ctx, "/bin/sh", "-c", command)
	cmd.Dir = cmp.Or(c.Dir, "/")
	cmd.Env = append(l.environment(u), c.Env...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if u.UID != os.Geteuid() || u.GID != os.Getegid() {
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: uint32(u.UID), Gid: uint32(u.GID)}
	}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = time.Second
	var said output
	cmd.Stdout, cmd.Stderr = &said, &said
	stdin, err := cmd.StdinPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		return failed(4, 3, 0, "cannot run the command: "+err.Error())
	}
	written := make(chan error, 1)
	go func() {
		err := l.writeTo(stdin, false)
		if !harmless(err) {
			cancel()
			// Before its input ends: it must not take half a message for the whole.
			err = errors.Join(err, cmd.Cancel())
		}
		written <- errors.Join(err, stdin.Close())
	}()
	err = cmd.Wait() // closes our end, so that the writer ends too
	return ended(ctx, command, said.String(), err, <-written)
}

// harmless reports whether writing ended because the command wanted no more.
func harmless(err error) bool {
	return err == nil || errors.Is(err, syscall.EPIPE) || errors.Is(err, os.ErrClosed)
}

var errTime = errors.New("time limit exceeded")

// ended says what the end of a command means for the mail.
func ended(ctx context.Context, command, said string, err, written error) mtakit.Result {
	name := fmt.Sprintf("%.100q", command)
	var exit *exec.ExitError
	switch {
	case err != nil && errors.Is(context.Cause(ctx), errTime):
		return failed(4, 3, 0, "Command time limit exceeded: "+name)
	case err != nil && ctx.Err() != nil:
		return failed(4, 3, 2, "delivery interrupted")
	case errors.As(err, &exit) && !exit.Exited():
		return failed(4, 3, 0, fmt.Sprintf("Command died with %s: %s", exit.ProcessState, name))
	case errors.As(err, &exit):
		return exited(exit.ExitCode(), name, said)
	case err != nil && !errors.Is(err, exec.ErrWaitDelay):
		return failed(4, 3, 0, "command failed: "+name)
	// A command need not read all. What could not be read to be given to it is another
	// thing.
	case !harmless(written):
		return failed(4, 3, 0, "cannot write to the command: "+name)
	}
	return mtakit.Result{Outcome: mtakit.Delivered, Status: smtp.EnhancedCode{2, 0, 0}, Diagnostic: "delivered to command: " + command}
}

// exited is the result of an exit status that is not 0. What the command says may begin
// with an RFC 3463 code, which then counts; sysexits.h has the meaning of the others.
func exited(status int, name, said string) mtakit.Result {
	r, ok := sysexit(status)
	if !ok {
		r = failed(5, 3, 0, fmt.Sprintf("Command died with status %d: %s", status, name))
	}
	if said == "" {
		return r
	}
	if own, text, ok := enhanced(said); ok {
		r = failed(own[0], own[1], own[2], text)
		return r
	}
	if ok {
		r.Diagnostic = said
	} else {
		r.Diagnostic += ". Command output: " + said
	}
	return r
}

// sysexit says what a status of sysexits(3) means.
func sysexit(status int) (mtakit.Result, bool) {
	switch status {
	case 64:
		return failed(5, 3, 0, "command line usage error"), true
	case 65:
		return failed(5, 6, 0, "data format error"), true
	case 66:
		return failed(5, 3, 0, "cannot open input"), true
	case 67:
		return failed(5, 1, 1, "user unknown"), true
	case 68:
		return failed(5, 1, 2, "host name unknown"), true
	case 69:
		return failed(5, 3, 0, "service unavailable"), true
	case 70:
		return failed(5, 3, 0, "internal software error"), true
	case 71:
		return failed(4, 3, 0, "system resource problem"), true
	case 72:
		return failed(5, 3, 0, "critical OS file missing"), true
	case 73:
		return failed(5, 2, 0, "can't create user output file"), true
	case 74:
		return failed(5, 3, 0, "input/output error"), true
	case 75:
		return failed(4, 3, 0, "temporary failure"), true
	case 76:
		return failed(5, 5, 0, "remote error in protocol"), true
	case 77:
		return failed(5, 7, 0, "permission denied"), true
	case 78:
		return failed(5, 3, 5, "local configuration error"), true
	}
	return mtakit.Result{}, false
}

// enhanced reads "4.2.2 text". Only failures can be told so.
func enhanced(said string) (code smtp.EnhancedCode, text string, ok bool) {
	first, text, _ := strings.Cut(said, " ")
	if n, err := fmt.Sscanf(first, "%1d.%3d.%3d", &code[0], &code[1], &code[2]); n != 3 || err != nil {
		return code, "", false
	}
	if first != fmt.Sprintf("%d.%d.%d", code[0], code[1], code[2]) || code[0] != 4 && code[0] != 5 {
		return code, "", false
	}
	return code, strings.TrimSpace(text), true
}

// output keeps the beginning of what is written to it.
type output struct{ b bytes.Buffer }

func (o *output) Write(p []byte) (int, error) {
	o.b.Write(p[:min(len(p), maxOutput-o.b.Len())])
	return len(p), nil
}

// String returns it as one line without controls.
func (o *output) String() string {
	return strings.TrimSpace(strings.Map(func(c rune) rune {
		switch {
		case c == '\n' || c == '\t':
			return ' '
		case c < ' ' || c == 0x7f:
			return -1
		}
		return c
	}, strings.ToValidUTF8(o.b.String(), "?")))
}
