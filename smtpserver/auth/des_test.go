package auth

import (
	"crypto/des"
	"encoding/binary"
	"encoding/hex"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// The hashes are from libcrypt.
func TestDESCrypt(t *testing.T) {
	t.Parallel()
	tests := []struct{ password, stored string }{
		{"secret", "abNANd1rDfiNc"},
		{"pässword1", "./8N.cE7s2K8o"},
		{"password", "zZDDIZ0NOlPzw"},
		{"x", "9a17ZQtclQi7A"},
		{"Pa55 w?!", "a.4tmEC52tSP6"},
		{"\xff\xfe\x80zz", "ZxheJ98RGTInE"},
	}
	for _, tt := range tests {
		assert.Equal(t, tt.stored, string(cryptDES([]byte(tt.password), []byte(tt.stored[:2]))), "%q", tt.password)
		for _, prefix := range []string{"{CRYPT}", "{DES-CRYPT}", "{crypt}"} {
			s, err := parseSecret(prefix+tt.stored+" ", wide)
			require.NoError(t, err, prefix)
			ok, err := s.match([]byte(tt.password))
			require.NoError(t, err)
			assert.True(t, ok)
			for _, wrong := range []string{"", "y" + tt.password, tt.password[1:], "A" + tt.password[1:]} {
				ok, err = s.match([]byte(wrong))
				require.NoError(t, err)
				assert.False(t, ok, "%q", wrong)
			}
		}
	}
	assert.Equal(t, "//plGAV7Hp3Zo", string(cryptDES(nil, []byte("//"))))
	assert.Equal(t, "MqIP3N2pJhUtc", string(cryptDES([]byte("12345678901"), []byte("Mq"))), "eight bytes count")
}

// One run without salt is DES itself, of a block of zeros.
func TestDESIsDES(t *testing.T) {
	t.Parallel()
	for _, password := range []string{"", "secret", "\x7f\x01", "zzzzzzzz", "AbCdEfGh"} {
		var key [8]byte
		for i := range len(password) {
			key[i] = password[i] << 1
		}
		block, err := des.NewCipher(key[:])
		require.NoError(t, err)
		want := make([]byte, 8)
		block.Encrypt(want, want)
		var left, right uint32
		for _, k := range desKeys([]byte(password)) {
			left, right = right, left^desRound(right, k, 0)
		}
		got := binary.BigEndian.AppendUint64(nil, permute(uint64(right)<<32|uint64(left), 64, desFinal[:]))
		assert.Equal(t, hex.EncodeToString(want), hex.EncodeToString(got), "%q", password)
	}
}

// Every salt, beside perl's crypt, which is libcrypt's.
func TestDESCryptSalts(t *testing.T) {
	t.Parallel()
	perl, err := exec.LookPath("perl")
	if err != nil {
		if os.Getenv("MTAKIT_REQUIRE") == "all" {
			t.Fatal("no perl: apt-get install perl")
		}
		t.Skip("no perl: apt-get install perl")
	}
	out, err := exec.Command(perl, "-e", `my @c = split //, shift; my $i = 0;
		for my $a (@c) { for my $b (@c) { print crypt("pw".$i++, $a.$b), "\n" } }`, crypt64).Output()
	require.NoError(t, err)
	lines := strings.Fields(string(out))
	require.Len(t, lines, 64*64)
	for i := 0; i < len(lines); i += 7 {
		require.Equal(t, lines[i], string(cryptDES([]byte("pw"+strconv.Itoa(i)), []byte(lines[i][:2]))))
	}
}
