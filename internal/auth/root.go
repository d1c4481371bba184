package auth

import (
	"bufio"
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/hansomcloud/hansom"
)

const masterKeySize = 32

// LoadMasterKey returns the 32 bytes that secrets are encrypted with: HANSOM_MASTER_KEY (64 hexadecimal digits or base64), else
// the file "key" in the data directory, which is made at the first start with mode 0600. getenv is os.Getenv but for tests.
func LoadMasterKey(dir string, getenv func(string) string) ([]byte, error) {
	const op = "load master key"
	if text := getenv("HANSOM_MASTER_KEY"); text != "" {
		if b, err := hex.DecodeString(text); err == nil && len(b) == masterKeySize {
			return b, nil
		}
		if b, err := base64.StdEncoding.DecodeString(text); err == nil && len(b) == masterKeySize {
			return b, nil
		}
		return nil, hansom.Errorf(hansom.Invalid, op, "HANSOM_MASTER_KEY must be 32 bytes, as 64 hexadecimal digits or in base64; make one with: openssl rand -hex 32")
	}
	path := filepath.Join(dir, "key")
	fresh := make([]byte, masterKeySize)
	rand.Read(fresh) // never fails (crypto/rand)
	b, err := readOrMake(op, path, fresh)
	if err == nil && len(b) != masterKeySize {
		err = hansom.Errorf(hansom.Invalid, op, "%s has %d bytes, a master key has %d; restore the file that belongs to this data directory", path, len(b), masterKeySize)
	}
	if err != nil {
		return nil, err
	}
	return b, nil
}

// LoadRoot returns the root credentials: HANSOM_ROOT_ACCESS_KEY_ID and HANSOM_ROOT_SECRET_ACCESS_KEY, else the file
// "credentials" in the data directory, in the format of AWS profiles, which is made at the first start with mode 0600.
func LoadRoot(dir string, getenv func(string) string) (hansom.Credentials, error) {
	const op = "load root credentials"
	id, secret := getenv("HANSOM_ROOT_ACCESS_KEY_ID"), getenv("HANSOM_ROOT_SECRET_ACCESS_KEY")
	if (id == "") != (secret == "") {
		return hansom.Credentials{}, hansom.Errorf(hansom.Invalid, op, "set both HANSOM_ROOT_ACCESS_KEY_ID and HANSOM_ROOT_SECRET_ACCESS_KEY, or neither")
	}
	if id != "" {
		if len(id) < 4 || len(id) > 128 || strings.ContainsAny(id, "/, \t\r\n") || len(secret) < 8 {
			return hansom.Credentials{}, hansom.Errorf(hansom.Invalid, op, "HANSOM_ROOT_ACCESS_KEY_ID must have 4 to 128 characters without space, comma or slash, and HANSOM_ROOT_SECRET_ACCESS_KEY at least 8")
		}
		return hansom.Credentials{AccessKeyID: id, SecretAccessKey: secret}, nil
	}
	path := filepath.Join(dir, "credentials")
	fresh := "[default]\naws_access_key_id = AKIA" + randomID() + "\naws_secret_access_key = " + newSecret() + "\n"
	b, err := readOrMake(op, path, []byte(fresh))
	if err != nil {
		return hansom.Credentials{}, err
	}
	c := parseProfile(b)
	if c.AccessKeyID == "" || c.SecretAccessKey == "" {
		return hansom.Credentials{}, hansom.Errorf(hansom.Invalid, op, "%s has no [default] profile with aws_access_key_id and aws_secret_access_key; correct it, or remove it to have new ones made", path)
	}
	return c, nil
}

// parseProfile reads the default profile of an AWS credentials file.
func parseProfile(b []byte) (c hansom.Credentials) {
	profile := ""
	for sc := bufio.NewScanner(bytes.NewReader(b)); sc.Scan(); {
		line := strings.TrimSpace(sc.Text())
		if strings.HasPrefix(line, "[") {
			profile = strings.TrimSpace(strings.Trim(line, "[]"))
			continue
		}
		name, value, ok := strings.Cut(line, "=")
		if !ok || profile != "default" || strings.HasPrefix(line, "#") {
			continue
		}
		switch strings.TrimSpace(name) {
		case "aws_access_key_id":
			c.AccessKeyID = strings.TrimSpace(value)
		case "aws_secret_access_key":
			c.SecretAccessKey = strings.TrimSpace(value)
		}
	}
	return c
}

// readOrMake reads a secret file, or makes it with content. It appears whole or not at all, and a second process that starts
// at the same time reads what the first one made.
func readOrMake(op, path string, content []byte) ([]byte, error) {
	b, err := readSecret(op, path)
	if !errors.Is(err, fs.ErrNotExist) {
		return b, err
	}
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, hansom.Errorf(hansom.Unavailable, op, "%w", err)
	}
	tmp, err := os.CreateTemp(dir, ".new-*") // mode 0600
	if err != nil {
		return nil, hansom.Errorf(hansom.Unavailable, op, "%w", err)
	}
	defer os.Remove(tmp.Name())
	_, err = tmp.Write(content)
	err = errors.Join(err, tmp.Sync(), tmp.Close())
	if err == nil {
		if err = os.Link(tmp.Name(), path); errors.Is(err, fs.ErrExist) {
			err = nil
		}
	}
	if err == nil {
		err = syncDir(dir)
	}
	if err != nil {
		return nil, hansom.Errorf(hansom.Unavailable, op, "%w", err)
	}
	return readSecret(op, path)
}

func readSecret(op, path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, hansom.Errorf(hansom.Unavailable, op, "%w", err)
	}
	if mode := info.Mode().Perm(); mode&0o077 != 0 {
		return nil, hansom.Errorf(hansom.Invalid, op, "%s can be read by others (mode %04o); it holds a secret: chmod 600 %s", path, mode, path)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, hansom.Errorf(hansom.Unavailable, op, "%w", err)
	}
	return b, nil
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
