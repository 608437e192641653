/// An exception that the running instruction raises (Intel SDM vol. 3A, chapter 6). Thrown with typed throws, so that
/// the path costs a register check.
public struct GuestFault: Error, Equatable {
  /// The exception's vector (Intel SDM vol. 3A, table 6-1).
  public var vector: UInt8
  /// Pushed when `hasErrorCode`.
  public var errorCode: UInt32
  /// An error code is pushed.
  public var hasErrorCode: Bool

  @inlinable
  public init(_ vector: UInt8, _ errorCode: UInt32) {
    self.vector = vector
    self.errorCode = errorCode
    hasErrorCode = true
  }

  @inlinable
  public init(_ vector: UInt8) {
    self.vector = vector
    errorCode = 0
    hasErrorCode = false
  }

  /// #DE and those that follow it in the manual's order (Intel SDM vol. 3A, table 6-1).
  public static let divide = GuestFault(0)
  public static let debug = GuestFault(1)
  public static let overflow = GuestFault(4)
  public static let bound = GuestFault(5)
  public static let undefined = GuestFault(6)
  public static let deviceNotAvailable = GuestFault(7)
  public static let doubleFault = GuestFault(8, 0)
  /// #TS with a selector.
  public static func invalidTSS(_ code: UInt32) -> GuestFault { GuestFault(10, code) }
  /// #NP with a selector.
  public static func notPresent(_ code: UInt32) -> GuestFault { GuestFault(11, code) }
  /// #SS with a selector or 0.
  public static func stack(_ code: UInt32) -> GuestFault { GuestFault(12, code) }
  /// #GP with a selector or 0.
  public static func protection(_ code: UInt32) -> GuestFault { GuestFault(13, code) }
  /// CR2 has been set by who throws it.
  public static func page(_ code: UInt32) -> GuestFault { GuestFault(14, code) }
  /// #MF, and behind it #AC and #XM.
  public static let x87 = GuestFault(16)
  public static let alignment = GuestFault(17, 0)
  public static let simd = GuestFault(19)
}
