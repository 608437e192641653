import Foundation

/// SHA-256 (FIPS 180-4), fed in pieces. Names content (firmware, kernels, media), seals saved states and proves
/// knowledge of a teleport's password.
public struct SHA256: Sendable {
  public static let byteCount = 32

  private var state: (UInt32, UInt32, UInt32, UInt32, UInt32, UInt32, UInt32, UInt32)
  private var block: [UInt8] = []
  private var total: UInt64 = 0

  public init() {
    state = (
      0x6a09_e667, 0xbb67_ae85, 0x3c6e_f372, 0xa54f_f53a, 0x510e_527f, 0x9b05_688c, 0x1f83_d9ab, 0x5be0_cd19
    )
    block.reserveCapacity(64)
  }

  public mutating func update(_ bytes: UnsafeRawBufferPointer) {
    total &+= UInt64(bytes.count)
    var rest = bytes[...]
    if !block.isEmpty {
      let taken = min(64 - block.count, rest.count)
      block.append(contentsOf: rest.prefix(taken))
      rest = rest.dropFirst(taken)
      if block.count < 64 { return }
      block.withUnsafeBytes { compress($0.baseAddress!, blocks: 1) }
      block.removeAll(keepingCapacity: true)
    }
    let whole = rest.count / 64
    if whole > 0 {
      let piece = UnsafeRawBufferPointer(rebasing: rest)
      compress(piece.baseAddress!, blocks: whole)
      rest = rest.dropFirst(whole * 64)
    }
    block.append(contentsOf: rest)
  }

  public mutating func update(_ bytes: some Sequence<UInt8>) {
    let done: Void? = bytes.withContiguousStorageIfAvailable { update(UnsafeRawBufferPointer($0)) }
    if done == nil { Array(bytes).withUnsafeBytes { update($0) } }
  }

  /// The 32 bytes of the digest. The value stays usable: what is fed next continues the same message.
  public func finalize() -> [UInt8] {
    var copy = self
    let bits = total &* 8
    var padding: [UInt8] = [0x80]
    let used = (block.count + 1) % 64
    padding += Array(repeating: 0, count: used <= 56 ? 56 - used : 120 - used)
    for shift in stride(from: 56, through: 0, by: -8) {
      padding.append(UInt8(truncatingIfNeeded: bits >> UInt64(shift)))
    }
    copy.update(padding)
    let words = [
      copy.state.0, copy.state.1, copy.state.2, copy.state.3, copy.state.4, copy.state.5, copy.state.6, copy.state.7,
    ]
    return words.flatMap { word in
      [24, 16, 8, 0].map { UInt8(truncatingIfNeeded: word >> UInt32($0)) }
    }
  }

  public static func hash(_ bytes: some Sequence<UInt8>) -> [UInt8] {
    var digest = SHA256()
    digest.update(bytes)
    return digest.finalize()
  }

  /// The digest in lower-case hexadecimal.
  public static func hex(_ bytes: some Sequence<UInt8>) -> String { hash(bytes).hexadecimal }

  /// The digest of a file's content in lower-case hexadecimal.
  /// - Throws: what FileHandle throws when the file cannot be opened or read.
  public static func hex(contentsOfFile path: String) throws -> String {
    let file = try FileHandle(forReadingFrom: URL(fileURLWithPath: path))
    defer { try? file.close() }
    var digest = SHA256()
    while let piece = try file.read(upToCount: 1 << 20), !piece.isEmpty {
      piece.withUnsafeBytes { digest.update($0) }
    }
    return digest.finalize().hexadecimal
  }

  /// FIPS 180-4, 6.2.2.
  private mutating func compress(_ bytes: UnsafeRawPointer, blocks: Int) {
    var (h0, h1, h2, h3, h4, h5, h6, h7) = state
    withUnsafeTemporaryAllocation(of: UInt32.self, capacity: 64) { schedule in
      Self.constants.withUnsafeBufferPointer { constants in
        for number in 0..<blocks {
          let source = bytes + number * 64
          for index in 0..<16 {
            schedule[index] = UInt32(bigEndian: source.loadUnaligned(fromByteOffset: index * 4, as: UInt32.self))
          }
          for index in 16..<64 {
            let w15 = schedule[index &- 15]
            let w2 = schedule[index &- 2]
            let s0 = Self.rotate(w15, 7) ^ Self.rotate(w15, 18) ^ (w15 &>> 3)
            let s1 = Self.rotate(w2, 17) ^ Self.rotate(w2, 19) ^ (w2 &>> 10)
            schedule[index] = schedule[index &- 16] &+ s0 &+ schedule[index &- 7] &+ s1
          }
          var (a, b, c, d) = (h0, h1, h2, h3)
          var (e, f, g, h) = (h4, h5, h6, h7)
          for index in 0..<64 {
            let s1 = Self.rotate(e, 6) ^ Self.rotate(e, 11) ^ Self.rotate(e, 25)
            let choice = (e & f) ^ (~e & g)
            let t1 = h &+ s1 &+ choice &+ constants[index] &+ schedule[index]
            let s0 = Self.rotate(a, 2) ^ Self.rotate(a, 13) ^ Self.rotate(a, 22)
            let majority = (a & b) ^ (a & c) ^ (b & c)
            h = g
            g = f
            f = e
            e = d &+ t1
            d = c
            c = b
            b = a
            a = t1 &+ s0 &+ majority
          }
          h0 &+= a
          h1 &+= b
          h2 &+= c
          h3 &+= d
          h4 &+= e
          h5 &+= f
          h6 &+= g
          h7 &+= h
        }
      }
    }
    state = (h0, h1, h2, h3, h4, h5, h6, h7)
  }

  @inline(__always)
  private static func rotate(_ value: UInt32, _ by: UInt32) -> UInt32 { value &>> by | value &<< (32 &- by) }

  /// FIPS 180-4, 4.2.2.
  private static let constants: [UInt32] = [
    0x428a_2f98, 0x7137_4491, 0xb5c0_fbcf, 0xe9b5_dba5, 0x3956_c25b, 0x59f1_11f1, 0x923f_82a4, 0xab1c_5ed5,
    0xd807_aa98, 0x1283_5b01, 0x2431_85be, 0x550c_7dc3, 0x72be_5d74, 0x80de_b1fe, 0x9bdc_06a7, 0xc19b_f174,
    0xe49b_69c1, 0xefbe_4786, 0x0fc1_9dc6, 0x240c_a1cc, 0x2de9_2c6f, 0x4a74_84aa, 0x5cb0_a9dc, 0x76f9_88da,
    0x983e_5152, 0xa831_c66d, 0xb003_27c8, 0xbf59_7fc7, 0xc6e0_0bf3, 0xd5a7_9147, 0x06ca_6351, 0x1429_2967,
    0x27b7_0a85, 0x2e1b_2138, 0x4d2c_6dfc, 0x5338_0d13, 0x650a_7354, 0x766a_0abb, 0x81c2_c92e, 0x9272_2c85,
    0xa2bf_e8a1, 0xa81a_664b, 0xc24b_8b70, 0xc76c_51a3, 0xd192_e819, 0xd699_0624, 0xf40e_3585, 0x106a_a070,
    0x19a4_c116, 0x1e37_6c08, 0x2748_774c, 0x34b0_bcb5, 0x391c_0cb3, 0x4ed8_aa4a, 0x5b9c_ca4f, 0x682e_6ff3,
    0x748f_82ee, 0x78a5_636f, 0x84c8_7814, 0x8cc7_0208, 0x90be_fffa, 0xa450_6ceb, 0xbef9_a3f7, 0xc671_78f2,
  ]
}

/// HMAC with SHA-256 (RFC 2104) and the key derivation built on it (PBKDF2, RFC 8018, 5.2).
public enum HMAC256 {
  public static func code(_ message: some Sequence<UInt8>, key: [UInt8]) -> [UInt8] {
    var padded = key.count > 64 ? SHA256.hash(key) : key
    padded += Array(repeating: 0, count: 64 - padded.count)
    var inner = SHA256()
    inner.update(padded.map { $0 ^ 0x36 })
    inner.update(message)
    var outer = SHA256()
    outer.update(padded.map { $0 ^ 0x5c })
    outer.update(inner.finalize())
    return outer.finalize()
  }

  /// 32 bytes of key from a password: the first block of PBKDF2.
  public static func deriveKey(password: [UInt8], salt: [UInt8], rounds: Int) -> [UInt8] {
    var link = code(salt + [0, 0, 0, 1], key: password)
    var key = link
    for _ in 1..<max(rounds, 1) {
      link = code(link, key: password)
      for index in key.indices { key[index] ^= link[index] }
    }
    return key
  }

  /// Comparison whose time does not tell where the difference is.
  public static func equal(_ one: [UInt8], _ other: [UInt8]) -> Bool {
    guard one.count == other.count else { return false }
    var difference: UInt8 = 0
    for index in one.indices { difference |= one[index] ^ other[index] }
    return difference == 0
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
