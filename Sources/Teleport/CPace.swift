import CSodium

/// One side of CPace (draft-irtf-cfrg-cpace, cipher suite CPACE-RISTR255-SHA512): two who know the same password get the same
/// key of full strength, and nobody else can try a password without one of them taking part.
struct CPace {
  /// Bytes of a share.
  static let shareBytes = 32
  private static let name = Array("CPaceRistretto255".utf8)
  /// Input block of SHA-512.
  private static let blockBytes = 128

  private let scalar: [UInt8]
  private let session: [UInt8]
  /// What is sent to the other side.
  let share: [UInt8]

  /// nil: the library cannot work here.
  ///
  /// - Parameters:
  ///   - password: PRS, what only the two know.
  ///   - channel: CI, who the two are.
  ///   - session: sid, which both have, and which no other connection has.
  ///   - scalar: for tests; nil: a random one.
  init?(password: [UInt8], channel: [UInt8], session: [UInt8], scalar: [UInt8]? = nil) {
    guard sodium_init() >= 0 else { return nil }
    self.session = session
    var own = scalar ?? [UInt8](repeating: 0, count: Int(crypto_core_ristretto255_SCALARBYTES))
    if scalar == nil { crypto_core_ristretto255_scalar_random(&own) }
    self.scalar = own
    let generator = Self.generator(password: password, channel: channel, session: session)
    guard let share = Self.multiply(own, generator) else { return nil }
    self.share = share
  }

  /// The point that the password leads to (section 7.3 of the draft).
  static func generator(password: [UInt8], channel: [UInt8], session: [UInt8]) -> [UInt8] {
    let front = prefixed(name) + prefixed(password)
    // The first block of the hash has nothing but these.
    let padding = [UInt8](repeating: 0, count: max(0, blockBytes - 1 - front.count))
    let hash = digest(front + prefixed(padding) + prefixed(channel) + prefixed(session))
    var point = [UInt8](repeating: 0, count: shareBytes)
    crypto_core_ristretto255_from_hash(&point, hash)
    return point
  }

  /// ISK, 64 bytes; nil when the other side's share is no point that a side can have made.
  ///
  /// - Parameters: initiator: who speaks first, with what it adds (ADa); responder: the other (ADb).
  func key(
    initiator: (share: [UInt8], added: [UInt8]), responder: (share: [UInt8], added: [UInt8]), peer: [UInt8]
  ) -> [UInt8]? {
    guard peer.count == Self.shareBytes, let secret = Self.multiply(scalar, peer) else { return nil }
    let transcript = [initiator.share, initiator.added, responder.share, responder.added].flatMap(Self.prefixed)
    return Self.digest(
      Self.prefixed(Self.name + Array("_ISK".utf8)) + Self.prefixed(session) + Self.prefixed(secret) + transcript)
  }

  /// nil for what is no point, and for the neutral element.
  private static func multiply(_ scalar: [UInt8], _ point: [UInt8]) -> [UInt8]? {
    var result = [UInt8](repeating: 0, count: shareBytes)
    return crypto_scalarmult_ristretto255(&result, scalar, point) == 0 ? result : nil
  }

  private static func digest(_ bytes: [UInt8]) -> [UInt8] {
    var result = [UInt8](repeating: 0, count: Int(crypto_hash_sha512_BYTES))
    crypto_hash_sha512(&result, bytes, UInt64(bytes.count))
    return result
  }

  /// Bytes after their number, in LEB128.
  static func prefixed(_ bytes: [UInt8]) -> [UInt8] {
    var length: [UInt8] = []
    var rest = bytes.count
    repeat {
      length.append(UInt8(rest & 0x7F) | (rest > 0x7F ? 0x80 : 0))
      rest >>= 7
    } while rest > 0
    return length + bytes
  }
}
