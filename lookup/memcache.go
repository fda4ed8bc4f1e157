package lookup

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"time"
)

// Memcache is a table in a memcached, as memcache_table(5) has it: what is not there is
// asked for in Backup, and put there. While the server is down Backup answers alone.
// It must not be copied after its first use.
type Memcache struct {
	Remote // Address "" means "localhost:11211", Timeout 0 means 2 seconds
	// Backup has what is in the cache. nil means that the cache is all there is.
	Backup LookupTable
	// Key is what is asked for, with %-expansions; the zero value means the key as it
	// is. Tables that share a server need one each: "aliases:%s".
	Key Template
	// Domains has the domains that are asked for: other keys, and those without
	// "user@", are not found. nil asks for every key.
	Domains LookupTable
	Flags   uint32        // are kept with what is put there
	TTL     time.Duration // of what is put there, in whole seconds; 0 means an hour
	MaxData int           // the most bytes of a value; 0 means 10240
	MaxLine int           // the most bytes of a line of the protocol; 0 means 1024
	Tries   int           // of one command; 0 means 2
	Pause   time.Duration // between them; 0 means a second
}

// maxMemcacheKey is the protocol's.
const maxMemcacheKey = 250

// Lookup asks the cache, then Backup. An error of the cache is one of the lookup only
// without Backup. A key that the protocol cannot carry (longer than 250 bytes, with
// spaces or control characters) is asked for in Backup alone. (Postfix asks nobody for
// one with spaces, and sends one that is too long, which the server refuses.)
func (t *Memcache) Lookup(ctx context.Context, key string) (value string, ok bool, err error) {
	if key == "" {
		return "", false, nil
	}
	key = Fold(key)
	if asked, err := InDomains(ctx, t.Domains, key); !asked || err != nil {
		return "", false, err
	}
	name := key
	if t.Key.parts != nil {
		if name, ok = t.Key.Expand(key, key, asIs); !ok {
			return "", false, nil
		}
	}
	carried := isMemcacheKey(name)
	if carried {
		value, ok, err = t.get(ctx, name)
		if ok || err != nil && (t.Backup == nil || ctx.Err() != nil) {
			return value, ok, err
		}
	}
	if t.Backup == nil {
		return "", false, nil
	}
	reachable := err == nil
	if value, ok, err = t.Backup.Lookup(ctx, key); !ok || err != nil {
		return "", false, err
	}
	if carried && reachable && len(value) <= orElse(t.MaxData, 10240) {
		// A value that cannot be kept is asked for again: that is no error.
		_ = t.set(ctx, name, value)
	}
	return value, true, nil
}

func asIs(s string) string { return s }

// isMemcacheKey reports whether the protocol can carry a key.
func isMemcacheKey(key string) bool {
	return key != "" && len(key) <= maxMemcacheKey && !strings.ContainsFunc(key, func(r rune) bool { return r <= ' ' || r == 0x7f })
}

// get asks for one key.
func (t *Memcache) get(ctx context.Context, name string) (value string, ok bool, err error) {
	answer, err := t.try(ctx, []byte("get "+name+"\r\n"), func(in *bufio.Reader) (string, error) { return t.readValue(in, name) })
	if err != nil {
		return "", false, fmt.Errorf("memcache table %s: %w", t.address(), err)
	}
	value, ok = strings.CutPrefix(answer, "=")
	return value, ok, nil
}

func (t *Memcache) set(ctx context.Context, name, value string) error {
	ttl := int64(orElse(t.TTL, time.Hour) / time.Second)
	if ttl > 30*24*3600 {
		ttl += time.Now().Unix() // the protocol takes more than 30 days for a moment
	}
	question := fmt.Sprintf("set %s %d %d %d\r\n%s\r\n", name, t.Flags, ttl, len(value), value)
	_, err := t.try(ctx, []byte(question), func(in *bufio.Reader) (string, error) {
		line, err := t.readLine(in)
		if err == nil && line != "STORED" {
			err = fmt.Errorf("%w: %s", errBadReply, quoteShort(line))
		}
		return line, err
	})
	return err
}

func (t *Memcache) address() string { return orElse(t.Address, "localhost:11211") }

// try asks more than once, but for a server that takes no connections.
func (t *Memcache) try(ctx context.Context, question []byte, read func(*bufio.Reader) (string, error)) (answer string, err error) {
	for n := 1; ; n++ {
		answer, err = t.askAt(ctx, t.address(), orElse(t.Timeout, 2*time.Second), question, read)
		var refused *net.OpError
		if err == nil || n >= orElse(t.Tries, 2) || ctx.Err() != nil || errors.As(err, &refused) && refused.Op == "dial" || errors.Is(err, net.ErrClosed) {
			return answer, err
		}
		if err := sleep(ctx, orElse(t.Pause, time.Second)); err != nil {
			return "", err
		}
	}
}

func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}

// readValue returns "=" and the value, or "" for a miss.
func (t *Memcache) readValue(in *bufio.Reader, name string) (string, error) {
	line, err := t.readLine(in)
	if err != nil || line == "END" {
		return "", err
	}
	f := strings.Split(line, " ")
	if len(f) < 4 || f[0] != "VALUE" || f[1] != name {
		return "", fmt.Errorf("%w: %s", errBadReply, quoteShort(line))
	}
	length, err := strconv.ParseUint(f[3], 10, 31)
	if err != nil || length > uint64(orElse(t.MaxData, 10240)) {
		return "", fmt.Errorf("%w: a value of %s bytes", errBadReply, quoteShort(f[3]))
	}
	value := make([]byte, length+2)
	if _, err := io.ReadFull(in, value); err != nil {
		return "", err
	}
	if string(value[length:]) != "\r\n" {
		return "", fmt.Errorf("%w: a value is longer than it says", errBadReply)
	}
	if line, err = t.readLine(in); err == nil && line != "END" {
		err = fmt.Errorf("%w: %s behind a value", errBadReply, quoteShort(line))
	}
	return "=" + string(value[:length]), err
}

func (t *Memcache) readLine(in *bufio.Reader) (string, error) {
	return readLine(in, orElse(t.MaxLine, 1024))
}

// openMemcache opens a *.cf file.
func openMemcache(ctx context.Context, o *Opener, name string) (LookupTable, error) {
	path, err := o.File(name)
	if err != nil {
		return nil, err
	}
	params, err := ReadParams(path)
	if err != nil {
		return nil, err
	}
	t := memcacheOf(params)
	if err = params.Err(); err == nil {
		t.Domains, err = o.Domains(ctx, params.Text("domain"))
	}
	if backup := params.Text("backup"); err == nil && backup != "" {
		t.Backup, err = o.Open(ctx, backup)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return t, nil
}

// memcacheOf makes a table of all parameters but domain and backup.
func memcacheOf(p *Params) *Memcache {
	t := &Memcache{
		TTL: p.Seconds("ttl"), Pause: p.Seconds("retry_pause"), Flags: uint32(p.Number("flags", 0, 0)),
		Tries: p.Number("max_try", 0, 1), MaxData: p.Number("data_size_limit", 0, 1), MaxLine: p.Number("line_size_limit", 0, 1),
		Key: p.Template("key_format", "%s"),
	}
	t.Timeout = p.Seconds("timeout")
	switch where := p.Text("memcache"); {
	case where == "":
	case strings.HasPrefix(where, "unix:"):
		t.Network, t.Address = "unix", strings.TrimPrefix(where, "unix:")
	default:
		t.Address = strings.TrimPrefix(where, "inet:")
		if _, _, err := net.SplitHostPort(t.Address); err != nil {
			p.Reject("memcache")
		}
	}
	return t
}
