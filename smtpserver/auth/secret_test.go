package auth

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var wide = limits{rounds: 1_000_000, cost: 14}

// The hashes are from libcrypt, openssl passwd and hashlib.
func TestSecretMatches(t *testing.T) {
	t.Parallel()
	tests := []struct{ stored, password string }{
		{"{PLAIN}pässword 1", "pässword 1"},
		{"{plain}{odd}", "{odd}"},
		{"{CLEARTEXT}a", "a"},
		{"{PLAIN.B64}cMOkc3N3b3JkIDE=", "pässword 1"},
		{"{SHA}wBFJYYjnh5eS5Eft5JORpd7Gkko=", "pässword 1"},
		{"{SHA1}wBFJYYjnh5eS5Eft5JORpd7Gkko", "pässword 1"},
		{"{SSHA}6SJeiiC5g3dDaY2bjsAbOu4DHlQBAgP/", "pässword 1"},
		{"{SSHA.HEX}e9225e8a20b9837743698d9b8ec01b3aee031e54010203ff", "pässword 1"},
		{"{SHA256}f7RERuWhObO3oHciFhtpNCnGhD0FNBL7CyE3AkK4vbA=", "pässword 1"},
		{"{SSHA256.BASE64}+xkcwUwnXiiWIeCCN0HzfaOAP7Rq/fxpxR2NbLiGYzABAgP/", "pässword 1"},
		{"{SHA512}CKWQ1bFe+6HuV0fkV78KrhRH5bOjFVbkHBnd8vTWw2lc3YVFx8X2I6wtGQoVpZVuVsftC++RLO5GPIvd7H4Lyg==", "pässword 1"},
		{"{SSHA512}D0d/rHcdQAcg8CvNcwCJyVkvEbDdvzu+zqtvfXKgr7FXob24WBZUEX04C1/cm8e/q3+ierG733z7eVcm4HBJFwECA/8=", "pässword 1"},
		{"{LDAP-MD5}7goPoJ33weEME8J5Khxfug==", "pässword 1"},
		{"{SMD5}fV1kxVvE33D7B9WDLGG7YAECA/8=", "pässword 1"},
		{"{PLAIN-MD5}ee0a0fa09df7c1e10c13c2792a1c5fba", "pässword 1"},
		{"$1$saltsalt$2f.bWx.H.UmlFhfc8jBL/.", "pässword 1"},
		{"{MD5-CRYPT}$1$abcdefgh$cHJi5PXp/ki/ktXzqlk6I1", "secret"},
		{"{MD5}$1$abcdefgh$cHJi5PXp/ki/ktXzqlk6I1", "secret"},
		{"$5$saltstring$kkjeJzcIcoraOI9Wy.Ik/CyqO0UtR1loRaFn/1I2xa7", "pässword 1"},
		{"{CRYPT}$5$rounds=10000$saltstringsaltst$3KOwTBKuVoDkzN1uFJ1ZiHfu04Bv77sc3s/XC73mga1", "pässword 1"},
		{"{SHA256-CRYPT}$5$abcdefgh$gruCpC7VkOTspMQTTSAR8mtlO9Upms.fwqE5y16JVM.", "secret"},
		{"$6$saltstring$XGgY63P1V71pIEzmkWAAKA2p9zafjPqJCMnjIfT42NOwiSelR3y9IUy9x75IK4MOIqwcL/3xD0l5I0d.bJOa00", "pässword 1"},
		{"{SHA512-CRYPT}$6$rounds=1234$abc0123456789$RXXiOBtBWZa4rOBRcmPYqUVN0X47ijcB9x5WKRIqLiM.7UDe52Q6cAwX3fnGoEb2.Xh.UUfwS9oPOkhkm7Sl7/", "pässword 1"},
		{"{CRYPT}$6$abcdefgh$ltjgWl6579NluT/Vi1nwEvcil.G5Nbc4NiXZaNGStk8PSwGfQv72N2CKPPrVACtLtip/cZ/1GM/O6IND4WQhG.", "secret"},
		{"$2y$05$abcdefghijklmnopqrstuuEn/eMei1z5h1.4IuwDnjDepo.7LkKxS", "pässword 1"},
		{"{BLF-CRYPT}$2b$04$abcdefghijklmnopqrstuu6M4AonsBSlaSmLjwpr7Te.9CyLp4qpK", "pässword 1"},
		{"{CRYPT}$2a$06$CCCCCCCCCCCCCCCCCCCCC.9YRINjY2vYkxkMhQnzaaXspVgQd6l0O ", "pässword 1"},
		{"$2y$04$abcdefghijklmnopqrstuubzadhGtS2zEF.gu0yd0opP6cVzb.e0i", strings.Repeat("x", 80)},
	}
	for _, tt := range tests {
		s, err := parseSecret(tt.stored, wide)
		require.NoError(t, err, tt.stored)
		ok, err := s.match([]byte(tt.password))
		require.NoError(t, err, tt.stored)
		assert.True(t, ok, tt.stored)
		for _, wrong := range []string{"", "x" + tt.password, strings.ToUpper(tt.password), tt.password[1:]} {
			ok, err = s.match([]byte(wrong))
			require.NoError(t, err, tt.stored)
			// bcrypt looks at 72 bytes only, which are the same here.
			assert.Equal(t, len(wrong) > bcryptPassword && wrong[0] == 'x', ok, "%s %q", tt.stored, wrong)
		}
	}
}

func TestSecretRefused(t *testing.T) {
	t.Parallel()
	sum512 := strings.Repeat("a", sha512Sum)
	for _, stored := range []string{
		"", "{", "}", "{}", "secret", "{PLAIN}", "{PLAIN", "{NOSUCH}x", "abNANd1rDfiNc",
		"{DES-CRYPT}", "{DES-CRYPT}abNANd1rDfiN", "{DES-CRYPT}abNANd1rDfiNcc", "{DES-CRYPT}abNANd1rDfiN:", "{DES-CRYPT.HEX}abNANd1rDfiNc",
		"{DES-CRYPT}$1$saltsalt$2f.bWx.H.UmlFhfc8jBL/.", "{CRYPT}_J9..rasmBYk8r9AiWNc", "{CRYPT}", "{MD5-CRYPT}abNANd1rDfiNc", "{CRYPT}$", "{CRYPT}$7$abc", "$1$", "$1$$", "$1$$" + strings.Repeat("a", 22),
		"$1$ninechars$2f.bWx.H.UmlFhfc8jBL/.", "$1$salt$short", "$1$salt$" + strings.Repeat("ö", 11),
		"$6$rounds=999999999$salt$" + sum512, "$6$rounds=1000001$salt$" + sum512, "$6$rounds=999$salt$" + sum512,
		"$6$rounds=-1$salt$" + sum512, "$6$rounds=$salt$" + sum512, "$6$rounds=99999999999999999999$salt$" + sum512,
		"$6$salt$x$" + sum512, "$6$rounds=5000$" + sum512,
		"$2y$31$abcdefghijklmnopqrstuuEn/eMei1z5h1.4IuwDnjDepo.7LkKxS",
		"$2y$15$abcdefghijklmnopqrstuuEn/eMei1z5h1.4IuwDnjDepo.7LkKxS",
		"$2y$03$abcdefghijklmnopqrstuuEn/eMei1z5h1.4IuwDnjDepo.7LkKxS",
		"$2y$5$abcdefghijklmnopqrstuuEn/eMei1z5h1.4IuwDnjDepo.7LkKxS",
		"$2x$05$abcdefghijklmnopqrstuuEn/eMei1z5h1.4IuwDnjDepo.7LkKxS",
		"$2$05$abcdefghijklmnopqrstuuEn/eMei1z5h1.4IuwDnjDepo.7LkKxS",
		"{SHA512-CRYPT}$1$saltsalt$2f.bWx.H.UmlFhfc8jBL/.", "{SHA512-CRYPT.HEX}00",
		"{SHA}", "{SHA}####", "{SHA}AAAA", "{SSHA}wBFJYYjnh5eS5Eft5JORpd7Gkko=", "{SHA.HEX}zz", "{SHA.XXX}00",
		"{SHA}6SJeiiC5g3dDaY2bjsAbOu4DHlQBAgP/", "{PLAIN}" + strings.Repeat("a", maxSecret),
	} {
		_, err := parseSecret(stored, wide)
		assert.ErrorIs(t, err, ErrSecret, "%.60s", stored)
	}
}

func FuzzParseSecret(f *testing.F) {
	for _, s := range []string{"{PLAIN}a", "{CRYPT}abNANd1rDfiNc", "{SSHA.HEX}e9225e8a20b9837743698d9b8ec01b3aee031e54010203ff",
		"$1$saltsalt$2f.bWx.H.UmlFhfc8jBL/.", "$5$rounds=1000$s$kkjeJzcIcoraOI9Wy.Ik/CyqO0UtR1loRaFn/1I2xa7",
		"$2y$04$abcdefghijklmnopqrstuubzadhGtS2zEF.gu0yd0opP6cVzb.e0i",
		"{CRYPT}$6$abcdefgh$ltjgWl6579NluT/Vi1nwEvcil.G5Nbc4NiXZaNGStk8PSwGfQv72N2CKPPrVACtLtip/cZ/1GM/O6IND4WQhG."} {
		f.Add(s, "secret")
	}
	f.Fuzz(func(t *testing.T, stored, password string) {
		if len(password) > maxPassword {
			return
		}
		s, err := parseSecret(stored, limits{rounds: 6000, cost: 5})
		if err != nil {
			require.ErrorIs(t, err, ErrSecret)
			return
		}
		ok, err := s.match([]byte(password))
		if ok {
			require.NoError(t, err)
			again, err := parseSecret(stored, wide)
			require.NoError(t, err)
			ok, err = again.match([]byte(password))
			require.NoError(t, err)
			require.True(t, ok)
		}
	})
}
