package local

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// User is somebody for whom commands run and files are written.
type User struct {
	Name     string
	UID, GID int
	Home     string // "" means that there is none
}

var (
	errIdentity = errors.New("this process cannot act as another user")
	errPasswd   = errors.New("not a line of passwd(5)")
)

// ParseUser reads a line of passwd(5).
func ParseUser(line string) (User, error) {
	f := strings.Split(line, ":")
	if len(f) < 7 || f[0] == "" {
		return User{}, fmt.Errorf("%w: %d fields", errPasswd, len(f))
	}
	uid, err := strconv.ParseUint(f[2], 10, 31)
	if err != nil {
		return User{}, fmt.Errorf("%w: user ID %.20q", errPasswd, f[2])
	}
	gid, err := strconv.ParseUint(f[3], 10, 31)
	if err != nil {
		return User{}, fmt.Errorf("%w: group ID %.20q", errPasswd, f[3])
	}
	return User{Name: f[0], UID: int(uid), GID: int(gid), Home: f[5]}, nil
}

// current is the user of the process.
func current() User {
	u := User{UID: os.Geteuid(), GID: os.Getegid()}
	if info, err := user.Current(); err == nil {
		u.Name, u.Home = info.Username, info.HomeDir
	}
	return u
}

// find returns the user of an address, without its extension.
func (a *Agent) find(ctx context.Context, address string) (u User, extension string, ok bool, err error) {
	name, _ := split(address)
	for _, name := range []string{name, strings.ToLower(name)} {
		for _, extended := range []bool{true, false} {
			extension = ""
			if !extended {
				name, extension = splitExtension(name, a.Delimiter)
			}
			line, ok, err := a.Users.Lookup(ctx, name)
			if err != nil {
				return User{}, "", false, fmt.Errorf("users: look up %.100q: %w", name, err)
			}
			if ok {
				u, err := ParseUser(line)
				return u, extension, err == nil, err
			}
		}
	}
	return User{}, "", false, nil
}

// maxForward bounds a .forward file, in bytes.
const maxForward = 1 << 20

// dotForward returns what the user's .forward says. An empty list means that there is
// none, that it is empty, that it may not be trusted, or that it was followed before.
func (x *expansion) dotForward(ctx context.Context, address string) ([]string, *User, error) {
	a := x.agent
	if a.Aliases == nil || a.Users == nil || a.DotForward == "" {
		return nil, nil, nil
	}
	u, extension, ok, err := a.find(ctx, address)
	if !ok || err != nil || u.Home == "" {
		return nil, nil, err
	}
	names := []string{a.DotForward}
	if extension != "" && !strings.Contains(extension, "/") {
		names = []string{a.DotForward + extension, a.DotForward}
	}
	for _, name := range names {
		text, err := readForward(u, filepath.Join(u.Home, name))
		if errors.Is(err, os.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) { // a home of /dev/null
			continue
		}
		if errors.Is(err, errUntrusted) {
			if a.Logger != nil {
				a.Logger.WarnContext(ctx, "file is not used", "file", name, "user", u.Name, "error", err)
			}
			return nil, nil, nil
		}
		if err != nil {
			return nil, nil, fmt.Errorf("%s of %s: %w", name, u.Name, err)
		}
		if !x.first("forward ", u.Name+" "+name) {
			return nil, nil, nil
		}
		list, err := a.Aliases.Forward(address, text)
		if err != nil {
			return nil, nil, fmt.Errorf("%s of %s: %w", name, u.Name, err)
		}
		return list, &u, nil
	}
	return nil, nil, nil
}

var errUntrusted = errors.New("not the user's own regular file, or others may write to it")

// readForward reads a file as its user: nothing that he may not read can be made to
// look like his.
func readForward(u User, name string) (text string, err error) {
	err = as(u, func() error {
		f, err := os.OpenFile(name, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
		if errors.Is(err, syscall.ELOOP) {
			return errUntrusted
		}
		if err != nil {
			return err
		}
		defer f.Close()
		info, err := f.Stat()
		if err != nil {
			return err
		}
		if !info.Mode().IsRegular() || info.Mode().Perm()&0o022 != 0 || !ownedBy(info, u.UID) {
			return errUntrusted
		}
		b, err := io.ReadAll(io.LimitReader(f, maxForward+1))
		if len(b) > maxForward {
			return fmt.Errorf("longer than %d bytes", maxForward)
		}
		text = string(b)
		return err
	})
	return text, err
}

// ownedBy reports whether a file is this user's or root's.
func ownedBy(info os.FileInfo, uid int) bool {
	st, ok := info.Sys().(*syscall.Stat_t)
	return ok && (int(st.Uid) == uid || st.Uid == 0)
}
