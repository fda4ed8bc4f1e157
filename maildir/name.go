package maildir

import (
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"os"
	"strings"
	"time"
)

// uniqueName returns a name that no other delivery on this or another host
// uses: time, process and 64 random bits, with the host as the last part. See
// maildir(5), "Unique names".
func uniqueName(now time.Time, host string) string {
	var r [8]byte
	rand.Read(r[:]) // never fails, says crypto/rand
	return fmt.Sprintf("%d.M%dP%dR%s.%s", now.Unix(), now.Nanosecond()/1000, os.Getpid(), hex.EncodeToString(r[:]), hostPart(host))
}

// hostPart writes a host name so that it holds neither a directory separator
// nor the colon that begins the flags in cur/.
func hostPart(host string) string {
	if host == "" {
		return "localhost"
	}
	if !strings.ContainsAny(host, "/:,\x00") {
		return host
	}
	return strings.NewReplacer("/", `\057`, ":", `\072`, ",", `\054`, "\x00", "").Replace(host)
}
