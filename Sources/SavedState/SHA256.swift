import CSodium
import Foundation

/// SHA-256 (FIPS 180-4), fed in pieces, by libsodium. Names content (firmware, kernels, media), seals saved states and
/// proves knowledge of a teleport's password.
///
/// Measured on a host with the SHA extensions: libsodium's portable code digests 300 MB/s, OpenSSL's would 1,700. What
/// is digested here is compressed memory at the speed of a disk or a wire, so that a second library is not worth it yet.
public struct SHA256: Sendable {
  /// Bytes of a digest.
  public static let byteCount = Int(crypto_hash_sha256_BYTES)

  private var state = crypto_hash_sha256_state()

  /// The digest of no bytes yet.
  public init() { crypto_hash_sha256_init(&state) }

  /// Adds bytes behind those before.
  public mutating func update(_ bytes: UnsafeRawBufferPointer) {
    guard let start = bytes.baseAddress else { return }
    crypto_hash_sha256_update(&state, start.assumingMemoryBound(to: UInt8.self), UInt64(bytes.count))
  }

  /// Adds bytes behind those before.
  public mutating func update(_ bytes: some Sequence<UInt8>) {
    let done: Void? = bytes.withContiguousStorageIfAvailable { update(UnsafeRawBufferPointer($0)) }
    if done == nil { Array(bytes).withUnsafeBytes { update($0) } }
  }

  /// The 32 bytes of the digest. The value stays usable: what is fed next continues the same message.
  public func finalize() -> [UInt8] {
    var copy = state
    var digest = [UInt8](repeating: 0, count: Self.byteCount)
    crypto_hash_sha256_final(&copy, &digest)
    return digest
  }

  /// The digest of bytes that are all there.
  public static func hash(_ bytes: some Sequence<UInt8>) -> [UInt8] {
    var digest = SHA256()
    digest.update(bytes)
    return digest.finalize()
  }

  /// The digest in lower-case hexadecimal.
  public static func hex(_ bytes: some Sequence<UInt8>) -> String { hash(bytes).hexadecimal }
}

/// HMAC with SHA-256 (RFC 2104) by libsodium, and the key derivation built on it (PBKDF2, RFC 8018, 5.2), which
/// libsodium does not have: its own wants more memory than a protocol can ask of both sides, and the wire format has
/// PBKDF2.
public enum HMAC256 {
  /// The 32 bytes by which who knows the key tells that the message is genuine.
  public static func code(_ message: some Sequence<UInt8>, key: [UInt8]) -> [UInt8] {
    code(Array(message), keyed(key))
  }

  /// 32 bytes of key from a password: the first block of PBKDF2.
  public static func deriveKey(password: [UInt8], salt: [UInt8], rounds: Int) -> [UInt8] {
    // The key's two blocks are digested once for all rounds.
    let state = keyed(password)
    var link = code(salt + [0, 0, 0, 1], state)
    var key = link
    for _ in 1..<max(rounds, 1) {
      link = code(link, state)
      for index in key.indices { key[index] ^= link[index] }
    }
    return key
  }

  /// Comparison whose time does not tell where the difference is.
  public static func equal(_ one: [UInt8], _ other: [UInt8]) -> Bool {
    one.count == other.count && sodium_memcmp(one, other, one.count) == 0
  }

  private static func keyed(_ key: [UInt8]) -> crypto_auth_hmacsha256_state {
    var state = crypto_auth_hmacsha256_state()
    crypto_auth_hmacsha256_init(&state, key, key.count)
    return state
  }

  private static func code(_ message: [UInt8], _ keyed: crypto_auth_hmacsha256_state) -> [UInt8] {
    var state = keyed
    var code = [UInt8](repeating: 0, count: Int(crypto_auth_hmacsha256_BYTES))
    crypto_auth_hmacsha256_update(&state, message, UInt64(message.count))
    crypto_auth_hmacsha256_final(&state, &code)
    return code
  }
}

extension Sequence<UInt8> {
  /// Two lower-case hexadecimal digits for each byte.
  public var hexadecimal: String {
    let digits = Array("0123456789abcdef".utf8)
    var text: [UInt8] = []
    for byte in self {
      text.append(digits[Int(byte >> 4)])
      text.append(digits[Int(byte & 15)])
    }
    return String(decoding: text, as: UTF8.self)
  }
}
