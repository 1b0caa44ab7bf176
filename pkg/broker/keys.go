package broker

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/nats-io/nkeys"

	"sluice/pkg/fault"
)

// SeedFile returns the name of the file with a user's seed.
func SeedFile(user string) string { return user + ".nk" }

// Keys returns the public keys of users by their seeds in dir, and makes the
// seeds that are missing: files that only their owner may read. What is there is
// never replaced, so that several may run at once, and again.
func Keys(dir string, users []User) (public map[string]string, made []string, err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, nil, fault.Wrap(err, fault.Halt, "nats-keys", "cannot make the directory %s", dir).WithHint("name one that this process may write to")
	}
	public = map[string]string{}
	for _, u := range users {
		path := filepath.Join(dir, SeedFile(u.Name))
		fresh, err := makeSeed(dir, path)
		if err != nil {
			return nil, made, fault.Wrap(err, fault.Halt, "nats-keys", "cannot write the seed %s", path).WithHint("name a directory that this process may write to")
		}
		if fresh {
			made = append(made, u.Name)
		}
		seed, err := readSeed(path)
		if err != nil {
			return nil, made, fault.Wrap(err, fault.Halt, "nats-keys", "cannot use the seed %s", path).WithHint("remove the file, then it is made again; the user gets another key")
		}
		public[u.Name], err = seed.PublicKey()
		seed.Wipe()
		if err != nil {
			return nil, made, fmt.Errorf("the public key of %s: %w", u.Name, err)
		}
	}
	return public, made, nil
}

// makeSeed writes a new seed unless there is one. The file appears whole or not
// at all: a process that dies here leaves no half seed, and of several one wins.
func makeSeed(dir, path string) (made bool, err error) {
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		return false, err
	}
	pair, err := nkeys.CreateUser()
	if err != nil {
		return false, err
	}
	defer pair.Wipe()
	seed, err := pair.Seed()
	if err != nil {
		return false, err
	}
	f, err := os.CreateTemp(dir, ".seed-*") // mode 0600
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, os.Remove(f.Name())) }()
	_, err = f.Write(append(seed, '\n'))
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return false, err
	}
	if err := os.Link(f.Name(), path); errors.Is(err, fs.ErrExist) {
		return false, nil // another process was faster
	} else if err != nil {
		return false, err
	}
	return true, nil
}
