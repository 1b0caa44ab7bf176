package sniff

// Unread is for tests.
var Unread = unread
