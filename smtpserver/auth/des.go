package auth

import (
	"crypto/subtle"
	"fmt"
	"strings"
)

// The tables of DES (FIPS 46-3) count bits from the left, from 1 on.
var (
	desE = [48]byte{
		32, 1, 2, 3, 4, 5, 4, 5, 6, 7, 8, 9, 8, 9, 10, 11, 12, 13, 12, 13, 14, 15, 16, 17,
		16, 17, 18, 19, 20, 21, 20, 21, 22, 23, 24, 25, 24, 25, 26, 27, 28, 29, 28, 29, 30, 31, 32, 1,
	}
	desP = [32]byte{
		16, 7, 20, 21, 29, 12, 28, 17, 1, 15, 23, 26, 5, 18, 31, 10,
		2, 8, 24, 14, 32, 27, 3, 9, 19, 13, 30, 6, 22, 11, 4, 25,
	}
	desPC1 = [56]byte{
		57, 49, 41, 33, 25, 17, 9, 1, 58, 50, 42, 34, 26, 18, 10, 2, 59, 51, 43, 35, 27, 19, 11, 3, 60, 52, 44, 36,
		63, 55, 47, 39, 31, 23, 15, 7, 62, 54, 46, 38, 30, 22, 14, 6, 61, 53, 45, 37, 29, 21, 13, 5, 28, 20, 12, 4,
	}
	desPC2 = [48]byte{
		14, 17, 11, 24, 1, 5, 3, 28, 15, 6, 21, 10, 23, 19, 12, 4, 26, 8, 16, 7, 27, 20, 13, 2,
		41, 52, 31, 37, 47, 55, 30, 40, 51, 45, 33, 48, 44, 49, 39, 56, 34, 53, 46, 42, 50, 36, 29, 32,
	}
	desFinal = [64]byte{
		40, 8, 48, 16, 56, 24, 64, 32, 39, 7, 47, 15, 55, 23, 63, 31, 38, 6, 46, 14, 54, 22, 62, 30, 37, 5, 45, 13, 53, 21, 61, 29,
		36, 4, 44, 12, 52, 20, 60, 28, 35, 3, 43, 11, 51, 19, 59, 27, 34, 2, 42, 10, 50, 18, 58, 26, 33, 1, 41, 9, 49, 17, 57, 25,
	}
	desRotations = [16]uint{1, 1, 2, 2, 2, 2, 2, 2, 1, 2, 2, 2, 2, 2, 2, 1}
	// desS has a line for each box: its four rows of 16, a hexadecimal digit an entry.
	desS = [8]string{
		"E4D12FB83A6C5907" + "0F74E2D1A6CB9538" + "41E8D62BFC973A50" + "FC8249175B3EA06D",
		"F18E6B34972DC05A" + "3D47F28EC01A69B5" + "0E7BA4D158C6932F" + "D8A13F42B67C05E9",
		"A09E63F51DC7B428" + "D709346A285ECBF1" + "D6498F30B12C5AE7" + "1AD069874FE3B52C",
		"7DE3069A1285BC4F" + "D8B56F03472C1AE9" + "A690CB7DF13E5284" + "3F06A1D8945BC72E",
		"2C417AB6853FD0E9" + "EB2C47D150FA3986" + "421BAD78F9C5630E" + "B8C71E2D6F09A453",
		"C1AF92680D34E75B" + "AF427C9561DE0B38" + "9EF528C3704A1DB6" + "432C95FABE17608D",
		"4B2EF08D3C975A61" + "D0B7491AE35C2F86" + "14BDC37EAF680592" + "6BD814A7950FE23C",
		"D2846FB1A93E50C7" + "1FD8A374C56B0E92" + "7B419CE206ADF358" + "21E74A8DFC90356B",
	}
)

const (
	crypt64 = "./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
	desText = 13 // characters: 2 of salt, 11 of hash
	desRuns = 25
)

// parseDES reads a traditional crypt(3) hash, "abNANd1rDfiNc".
func parseDES(text string) (secret, error) {
	if len(text) != desText || !isCrypt64(text) {
		return secret{}, fmt.Errorf("%w: no DES crypt hash", ErrSecret)
	}
	return secret{kind: desCrypt, salt: []byte(text[:2]), sum: []byte(text)}, nil
}

func (s secret) matchDES(password []byte) bool {
	return subtle.ConstantTimeCompare(cryptDES(password, s.salt), s.sum) == 1
}

// cryptDES is the traditional crypt(3): the seven low bits of the first eight
// bytes of the password are a DES key that encrypts a block of zeros 25 times,
// with an expansion that the salt has changed. Its work is always the same.
func cryptDES(password, salt []byte) []byte {
	keys := desKeys(password)
	swap := desSalt(salt)
	var left, right uint32
	for range desRuns {
		for _, key := range keys {
			left, right = right, left^desRound(right, key, swap)
		}
		left, right = right, left
	}
	block := permute(uint64(left)<<32|uint64(right), 64, desFinal[:])
	out := append(make([]byte, 0, desText), salt...)
	for shift := 58; shift > 0; shift -= 6 {
		out = append(out, crypt64[block>>shift&63])
	}
	return append(out, crypt64[block<<2&63])
}

// desKeys returns the keys of the sixteen rounds.
func desKeys(password []byte) (keys [16]uint64) {
	var key uint64
	for i := range 8 {
		key <<= 8
		if i < len(password) {
			key |= uint64(password[i] << 1)
		}
	}
	const half = 1<<28 - 1
	cd := permute(key, 64, desPC1[:])
	c, d := cd>>28, cd&half
	for i, n := range desRotations {
		c, d = (c<<n|c>>(28-n))&half, (d<<n|d>>(28-n))&half
		keys[i] = permute(c<<28|d, 56, desPC2[:])
	}
	return keys
}

// desSalt returns which of the 24 pairs of bits of the expansion are swapped:
// the first bit of the salt is the leftmost pair.
func desSalt(salt []byte) (swap uint64) {
	n := strings.IndexByte(crypt64, salt[1])<<6 | strings.IndexByte(crypt64, salt[0])
	for range 12 {
		swap = swap<<1 | uint64(n&1)
		n >>= 1
	}
	return swap << 12
}

// desRound is the function f of DES.
func desRound(right uint32, key, swap uint64) uint32 {
	e := permute(uint64(right), 32, desE[:])
	t := (e>>24 ^ e) & swap
	e ^= t<<24 | t
	e ^= key
	var out uint64
	for i := range desS {
		six := e >> (42 - 6*i) & 63
		row, column := six>>4&2|six&1, six>>1&15
		digit := desS[i][row<<4|column]
		if digit >= 'A' {
			digit -= 'A' - 10 - '0'
		}
		out = out<<4 | uint64(digit-'0')
	}
	return uint32(permute(out, 32, desP[:]))
}

// permute picks bits of the width bits of b.
func permute(b uint64, width int, table []byte) (out uint64) {
	for _, from := range table {
		out = out<<1 | b>>(width-int(from))&1
	}
	return out
}
