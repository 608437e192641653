import Testing

@testable import SavedState

@Suite struct SHA256Tests {
  @Test(arguments: [
    ("", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"),
    ("abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"),
    (
      "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
      "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1"
    ),
  ])
  func knownAnswers(message: String, digest: String) { #expect(SHA256.hex(Array(message.utf8)) == digest) }

  @Test func aMillionTimesA() {
    #expect(
      SHA256.hex(Array(repeating: UInt8(ascii: "a"), count: 1_000_000))
        == "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0")
  }

  @Test func anySplitGivesTheSameDigest() {
    let message = (0..<300).map { UInt8(truncatingIfNeeded: $0 * 7) }
    let whole = SHA256.hash(message)
    for cut in 0...message.count {
      var digest = SHA256()
      digest.update(message[..<cut])
      digest.update(message[cut...])
      #expect(digest.finalize() == whole)
    }
  }

  /// RFC 4231, test cases 1, 2 and 6.
  @Test func hmacKnownAnswers() {
    #expect(
      HMAC256.code(Array("Hi There".utf8), key: Array(repeating: 0x0b, count: 20)).hexadecimal
        == "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7")
    #expect(
      HMAC256.code(Array("what do ya want for nothing?".utf8), key: Array("Jefe".utf8)).hexadecimal
        == "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843")
    #expect(
      HMAC256.code(
        Array("Test Using Larger Than Block-Size Key - Hash Key First".utf8), key: Array(repeating: 0xaa, count: 131)
      ).hexadecimal == "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54")
  }

  /// RFC 7914, 11.
  @Test func derivedKeyKnownAnswer() {
    #expect(
      HMAC256.deriveKey(password: Array("passwd".utf8), salt: Array("salt".utf8), rounds: 1).hexadecimal
        == "55ac046e56e3089fec1691c22544b605f94185216dde0465e68b9d57c20dacbc")
    // As many rounds as the teleport takes; the value is that of the Python library's hashlib.
    #expect(
      HMAC256.deriveKey(password: Array("password".utf8), salt: Array("salt".utf8), rounds: 4096).hexadecimal
        == "c5e478d59288c841aa530db6845c4c8d962893a001ce4e11a4963873aa98134a")
  }

  @Test func equalComparesContentAndLength() {
    #expect(HMAC256.equal([1, 2], [1, 2]))
    #expect(!HMAC256.equal([1, 2], [1, 3]))
    #expect(!HMAC256.equal([1, 2], [1, 2, 3]))
  }
}
