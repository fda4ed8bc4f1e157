package tlsutil

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// expiryWarning is how long before its end a certificate is warned about.
const expiryWarning = 14 * 24 * time.Hour

// Pair is a certificate and its key, read from two PEM files and read again when
// they change. The certificates that sign it follow it in CertFile. CertFile and
// KeyFile are required, and may be the same file.
//
// A pair that cannot be used (half written, not belonging together) never
// replaces the one in use: it is logged once and tried again. Pair may be used
// from any number of goroutines, and starts none.
type Pair struct {
	CertFile, KeyFile string
	// Check is the least time between two looks at the files, which are made by
	// the handshakes. 0 means a second; negative means that only Reload reads
	// them.
	Check  time.Duration
	Logger *slog.Logger // nil means silent

	current atomic.Pointer[tls.Certificate]
	next    atomic.Pointer[time.Time] // when to look at the files; its monotonic clock does not jump

	mu     sync.Mutex // of what follows: one reader of the files at a time
	loaded stamps     // of the pair in use
	failed stamps     // of the pair that was logged as broken
}

// LoadPair reads a pair of files.
func LoadPair(certFile, keyFile string) (*Pair, error) {
	p := &Pair{CertFile: certFile, KeyFile: keyFile}
	if err := p.Reload(); err != nil {
		return nil, err
	}
	return p, nil
}

// GetCertificate is for tls.Config. It returns the pair in use.
func (p *Pair) GetCertificate(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	c := p.current.Load()
	if c == nil {
		if err := p.Reload(); err != nil {
			return nil, err
		}
		return p.current.Load(), nil
	}
	if p.due() {
		p.refresh()
		c = p.current.Load()
	}
	return c, nil
}

// Certificate returns the certificate in use, and nil before the first load.
func (p *Pair) Certificate() *x509.Certificate {
	c := p.current.Load()
	if c == nil {
		return nil
	}
	return c.Leaf
}

// Reload reads the files now. With an error the pair in use stays.
func (p *Pair) Reload() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.load(p.look())
}

// due reports whether this handshake is the one that looks at the files.
func (p *Pair) due() bool {
	every := p.Check
	if every < 0 {
		return false
	}
	if every == 0 {
		every = time.Second
	}
	now, next := time.Now(), p.next.Load()
	if next != nil && now.Before(*next) {
		return false
	}
	later := now.Add(every)
	return p.next.CompareAndSwap(next, &later)
}

// refresh reads the files when they are not those of the pair in use. It does
// not wait for somebody who is reading them: the handshake has a pair.
func (p *Pair) refresh() {
	if !p.mu.TryLock() {
		return
	}
	defer p.mu.Unlock()
	now := p.look()
	if now.same(p.loaded) {
		return
	}
	if err := p.load(now); err != nil && !now.same(p.failed) {
		p.failed = now
		p.log().Error("the certificate cannot be used, the old one stays", "file", p.CertFile, "error", err)
	}
}

// load reads the files, which looked like this before: if they change in
// between, the next look finds a difference.
func (p *Pair) load(before stamps) error {
	c, err := tls.LoadX509KeyPair(p.CertFile, p.KeyFile)
	if err != nil {
		return fmt.Errorf("load certificate %s: %w", p.CertFile, err)
	}
	p.current.Store(&c)
	p.loaded, p.failed = before, stamps{}
	p.warn(c.Leaf)
	return nil
}

func (p *Pair) warn(c *x509.Certificate) {
	switch left := time.Until(c.NotAfter); {
	case left <= 0:
		p.log().Warn("the certificate has expired", "file", p.CertFile, "not_after", c.NotAfter)
	case left < expiryWarning:
		p.log().Warn("the certificate expires soon", "file", p.CertFile, "not_after", c.NotAfter)
	case time.Until(c.NotBefore) > 0:
		p.log().Warn("the certificate is not valid yet", "file", p.CertFile, "not_before", c.NotBefore)
	}
}

func (p *Pair) log() *slog.Logger {
	if p.Logger == nil {
		return slog.New(slog.DiscardHandler)
	}
	return p.Logger
}

// stamps tell two states of the files apart. nil is a file that cannot be seen.
type stamps struct{ cert, key fs.FileInfo }

func (p *Pair) look() stamps {
	var s stamps
	s.cert, _ = os.Stat(p.CertFile)
	s.key, _ = os.Stat(p.KeyFile)
	return s
}

func (s stamps) same(other stamps) bool {
	return sameFile(s.cert, other.cert) && sameFile(s.key, other.key)
}

// sameFile compares identity too, because a renewal within the clock's tick can
// have time and size of the old file.
func sameFile(a, b fs.FileInfo) bool {
	if a == nil || b == nil {
		return a == nil && b == nil
	}
	return os.SameFile(a, b) && a.Size() == b.Size() && a.ModTime().Equal(b.ModTime())
}
