import Foundation

/// What could not be done, and what the user can do about it. Its description is one line.
public struct ManagementError: Error, Equatable, Sendable, CustomStringConvertible, LocalizedError {
  /// What could not be done.
  public var message: String
  /// What the user can do about it, where there is something.
  public var remedy: String?

  /// An error with its words.
  public init(_ message: String, remedy: String? = nil) {
    self.message = message
    self.remedy = remedy
  }

  /// Both in one line.
  public var description: String { remedy.map { "\(message); \($0)" } ?? message }
  public var errorDescription: String? { description }

  /// The error of the C library call that has just failed.
  static func system(_ what: String, _ code: Int32 = errno, remedy: String? = nil) -> ManagementError {
    ManagementError("\(what): \(String(cString: strerror(code)))", remedy: remedy)
  }

  /// Any error as one line of text.
  /// - Parameter machine: the VM that it is about, for the commands it proposes.
  public static func line(for error: any Error, machine: String? = nil) -> String {
    line(for: text(for: error, machine: machine))
  }

  static func line(for text: String) -> String {
    text.split(whereSeparator: \.isNewline).joined(separator: " ")
  }
}
