/// Why a network could not be set up, and what to do about it.
public struct HostNetworkError: Error, Equatable, CustomStringConvertible, Sendable {
  /// What happened.
  public let message: String
  /// What to do, or nil where there is nothing to say.
  public let remedy: String?

  /// - Parameters: message: what happened. remedy: what to do.
  public init(_ message: String, remedy: String? = nil) {
    self.message = message
    self.remedy = remedy
  }

  /// Both in one line.
  public var description: String { remedy.map { "\(message); \($0)" } ?? message }
}
