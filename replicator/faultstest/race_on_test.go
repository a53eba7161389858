//go:build race

package faultstest

const raced = true
