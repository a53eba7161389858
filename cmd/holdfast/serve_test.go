package main

import (
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"time"
)

// nbdget is a client of a network block device on a unix socket, as one of the scripts' commands: it prints N bytes from OFF
// on, or fails as the server says.
//
//	nbdget SOCKET OFF N
func nbdget() {
	if err := getBlocks(os.Args[1], os.Args[2], os.Args[3]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func getBlocks(path, from, length string) error {
	off, err := strconv.ParseUint(from, 10, 64)
	if err != nil {
		return err
	}
	n, err := strconv.ParseUint(length, 10, 32)
	if err != nil {
		return err
	}
	var c net.Conn
	for range 1000 { // the server may just be starting
		if c, err = net.Dial("unix", path); err == nil {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	if err != nil {
		return err
	}
	defer c.Close()
	ask := []byte("\x00\x00\x00\x03IHAVEOPT\x00\x00\x00\x01\x00\x00\x00\x00\x25\x60\x95\x13\x00\x00\x00\x00cookie!!")
	ask = binary.BigEndian.AppendUint64(ask, off)
	ask = binary.BigEndian.AppendUint32(ask, uint32(n))
	if _, err := c.Write(ask); err != nil {
		return err
	}
	head := make([]byte, 18+10+16) // the greeting, the export's size and flags, the reply's head
	if _, err := io.ReadFull(c, head); err != nil {
		return err
	}
	if errno := binary.BigEndian.Uint32(head[32:]); errno != 0 {
		return fmt.Errorf("the server says error %d", errno)
	}
	_, err = io.CopyN(os.Stdout, c, int64(n))
	return err
}
